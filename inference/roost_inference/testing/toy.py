"""A backend without weights: the next token is a function of the tokens before it.

Tokens are bytes, and END. What follows depends on every token held by the sequence, so a lost,
doubled or foreign cell changes the text. Misuse that makes llama.cpp abort raises here.
"""

import threading
import zlib
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from llguidance import LLTokenizer, TokenizerWrapper

from roost_inference.backend import DecodeStatus, Logits, Payload
from roost_inference.batch import Batch
from roost_inference.testing.toy_streams import Held, ToyStreams

END = 256
SIZE = 257
# One hash in this many ends the text.
END_CHANCE = 64
_ALPHABET = b"abcdefghijklmnopqrstuvwxyz      "


def next_token(tokens: Sequence[int]) -> int:
    """The likeliest token after these."""
    digest = zlib.crc32(np.asarray(tokens, np.int32).tobytes())
    if digest % END_CHANCE == 0:
        return END
    return _ALPHABET[(digest >> 8) % len(_ALPHABET)]


def continuation(prompt: Sequence[int], count: int) -> list[int]:
    """What a greedy engine must generate: up to `count` tokens, END included."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + count and (len(tokens) == len(prompt) or tokens[-1] != END):
        tokens.append(next_token(tokens))
    return tokens[len(prompt) :]


class ToyVocabulary:
    """Bytes and END."""

    size = SIZE
    end_tokens = frozenset({END})
    # what llguidance's wrapper asks for
    eos_token_id = END
    bos_token_id = None
    special_token_ids = (END,)

    def __init__(self) -> None:
        self.tokens = [bytes([value]) for value in range(256)] + [b"\xff<end>"]

    def __call__(self, text: bytes | str) -> list[int]:
        """Tokens of a text, for llguidance."""
        return list(text if isinstance(text, bytes) else text.encode())

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """The bytes of the text."""
        return list(text.encode())

    def tokens_at_least(self, text: str) -> int:
        """Exactly the number of tokens."""
        return len(text.encode())

    def token_bytes(self, token: int) -> bytes:
        """The byte, empty for END."""
        return b"" if token == END else bytes([token])

    def special_text(self, token: int) -> str:
        """END as it is written."""
        return "<end>" if token == END else ""

    def grammar_tokenizer(self) -> LLTokenizer:
        """The vocabulary in llguidance's form."""
        return LLTokenizer(TokenizerWrapper(self))


class ToyBackend:
    """`on_decode` runs inside every decode, before the interrupt flag is looked at: tests put
    aborts, failures and the passing of fake time there."""

    # Streams and cells of each, where the test says nothing else; (0, 0) is none.
    stream_sizes: ClassVar[tuple[int, int]] = (0, 0)

    def __init__(
        self,
        *,
        cells: int = 512,
        sequences: int = 16,
        truncates: bool = True,
        identity: str = "toy",
        on_decode: Callable[[Batch], None] = lambda batch: None,
        background_cells: int = 0,
        background_polls: int = 2,
        on_poll: Callable[[], None] = lambda: None,
        stream_sizes: tuple[int, int] | None = None,
    ) -> None:
        """background_polls: how often a piece in the background is not finished yet; on_poll runs
        each time."""
        self.vocabulary = ToyVocabulary()
        self.cells = cells
        self.sequences = sequences
        self.truncates = truncates
        self.on_decode = on_decode
        self.decoded: list[int] = []
        self.background_cells = background_cells
        self._background_polls, self.on_poll = background_polls, on_poll
        self._piece: tuple[Batch, int] | None = None
        self.trained_context = cells
        self.identity = identity
        self.refuse_imports = False
        self._interrupted = threading.Event()
        self._held: Held = {}
        count, stream_cells = stream_sizes or self.stream_sizes
        self.streams = ToyStreams(self._held, count if truncates else 0, stream_cells)
        self._outputs: dict[int, list[int]] = {}

    @property
    def pages(self) -> bool:
        """Whether blocks can be exported."""
        return self.truncates

    @property
    def side_by_side_from(self) -> int:
        """See Backend."""
        return self.streams.pool.enter_at if self.streams.held else 0

    def decode(self, batch: Batch) -> DecodeStatus:
        """Rows are computed in order; each must continue its sequence exactly."""
        piece = self._piece
        if piece is not None and piece[0] is not batch:
            reading = piece[0].sequence_ids[0]
            assert reading not in batch.sequence_ids[: batch.size], (
                "it is being computed in the background"
            )
        self._outputs.clear()
        held_of = self.streams.arrange(batch)
        self.on_decode(batch)
        if self._interrupted.is_set():
            return DecodeStatus.ABORTED
        if self._cells_used() + batch.size > self.cells:
            return DecodeStatus.NO_CELLS
        self.decoded.append(batch.size)
        for row in range(batch.size):
            held = held_of(int(batch.sequence_ids[row]))
            assert 0 <= batch.sequence_ids[row] < self.sequences, "invalid sequence id"
            assert batch.positions[row] == len(held), "a hole or a repeat in the sequence"
            held.append((int(batch.tokens[row]), object()))
            if batch.outputs[row]:
                self._outputs[row] = [token for token, _ in held]
        return DecodeStatus.DONE

    def begin_prefill(self, batch: Batch, on_end: Callable[[], None]) -> bool:
        """Keep the piece for `finish_prefill`."""
        assert self._piece is None, "a piece is under way"
        self._piece = batch, self._background_polls
        return True

    def stop_prefill(self) -> None:
        """Forget the piece at the next `finish_prefill`."""
        assert self._piece is not None, "no piece is under way"
        self._piece = self._piece[0], -1

    def finish_prefill(self, *, wait: bool) -> DecodeStatus | None:
        """Compute the piece at the last poll, at once with `wait`."""
        assert self._piece is not None, "no piece is under way"
        batch, polls = self._piece
        if polls > 0 and not wait:
            self._piece = batch, polls - 1
            self.on_poll()
            return None
        try:
            return DecodeStatus.ABORTED if polls < 0 else self.decode(batch)
        finally:
            self._piece = None

    def logits(self, row: int) -> Logits:
        """The chosen token has 8, all others 0 to 1 by their number."""
        logits: Logits = np.linspace(0.0, 1.0, SIZE, dtype=np.float32)
        logits[next_token(self._outputs[row])] = 8.0
        return logits

    def sequence_copy(self, source: int, target: int, start: int, end: int) -> None:
        """Share the first `end` cells."""
        assert self.truncates and start == 0 and not self.sequence_end(target), "invalid copy"
        self.streams.pool.store(source, end)
        self._held[target] = self._held[source][:end]

    def sequence_remove(self, sequence: int, start: int) -> bool:
        """Remove positions from `start` on; see Backend."""
        held = self._held.get(sequence, [])
        if not self.truncates and 0 < start < len(held):
            return False
        self.streams.pool.cut(sequence, start)
        del held[start:]
        self.streams.pool.check()
        return True

    def sequence_end(self, sequence: int) -> int:
        """Tokens the sequence holds."""
        return max(len(self._held.get(sequence, ())), self.streams.pool.end(sequence))

    def export_block(self, sequence: int, start: int, end: int) -> Payload:
        """The range, its tokens, and a hash of all before it: KV depends on the whole prefix."""
        self.streams.pool.leave(sequence)
        tokens = [token for token, _ in self._held[sequence][:end]]
        assert 0 <= start < end == len(tokens), "export of positions not held"
        head = [start, end, _prefix_hash(tokens[:start])]
        return np.asarray(head + tokens[start:], np.int64).view(np.uint8)

    def import_block(self, sequence: int, payload: Payload) -> bool:
        """Append a block; a hole or a foreign prefix raises AssertionError."""
        if self.refuse_imports:
            return False
        self.streams.pool.leave(sequence)
        values = payload.view(np.int64).tolist()
        start, end, prefix_hash = values[:3]
        held = self._held.setdefault(sequence, [])
        assert end - start == len(values) - 3 and start == len(held), "a hole in the sequence"
        assert prefix_hash == _prefix_hash([token for token, _ in held]), "a foreign block"
        assert self._cells_used() + end - start <= self.cells, "an import without free cells"
        held += [(token, object()) for token in values[3:]]
        return True

    def interrupt(self) -> None:
        """Abort decodes until `clear_interrupt`."""
        self._interrupted.set()

    def clear_interrupt(self) -> None:
        """Let decodes run again."""
        self._interrupted.clear()

    def close(self) -> None:
        """Forget all sequences."""
        self._held.clear()

    def _cells_used(self) -> int:
        held = (*self._held.values(), *self.streams.held)
        return len({id(cell) for cells in held for _, cell in cells})


def _prefix_hash(tokens: Sequence[int]) -> int:
    return zlib.crc32(np.asarray(tokens, np.int32).tobytes())
