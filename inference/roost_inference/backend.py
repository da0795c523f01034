"""The protocols of the kernels: they decode batches, hold sequences and know the tokens."""

from collections.abc import Callable
from enum import Enum
from typing import Protocol

import numpy as np
from llguidance import LLTokenizer
from numpy.typing import NDArray

from roost_inference.batch import Batch

Logits = NDArray[np.float32]
# Hidden states, one after the other, and the numbers of rows of a batch.
Features = NDArray[np.float32]
Rows = NDArray[np.intp]
# The KV of one block in the format of the kernels; never changed.
Payload = NDArray[np.uint8]


class DecodeStatus(Enum):
    """How a decode ended. After anything but DONE the rows of the batch may be partly in the KV:
    the caller removes them before it goes on."""

    DONE = "done"
    NO_CELLS = "no_cells"
    ABORTED = "aborted"


class Vocabulary(Protocol):
    """Tokens and text. Every method may be called from any thread."""

    @property
    def size(self) -> int:
        """Token ids are below this."""
        ...

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end a generation (EOS, EOT and the like); never empty."""
        ...

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids; `special` recognises control tokens written in the text. Never adds BOS."""
        ...

    def tokens_at_least(self, text: str) -> int:
        """A lower bound of the text's tokens, known without tokenising it."""
        ...

    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for; empty for control tokens."""
        ...

    def special_text(self, token: int) -> str:
        """A control token as it is written, e.g. <|im_end|>; empty for "none"."""
        ...

    def grammar_tokenizer(self) -> LLTokenizer:
        """The vocabulary in llguidance's form; built once."""
        ...


def spelled(vocabulary: Vocabulary, token: int) -> bytes:
    """The bytes a token is written with, control tokens included."""
    return vocabulary.token_bytes(token) or vocabulary.special_text(token).encode()


class Backend(Protocol):
    """Kernels over one unified KV cache.

    One thread calls it, except `interrupt`, which any thread may call. Positions are half-open
    intervals [start, end). A copied range shares its cells with the source.
    """

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens of the model."""
        ...

    @property
    def cells(self) -> int:
        """KV cells of the device, one token each."""
        ...

    @property
    def sequences(self) -> int:
        """Sequence ids are below this."""
        ...

    @property
    def truncates(self) -> bool:
        """Whether part of a sequence can be removed or copied (not so for recurrent models)."""
        ...

    @property
    def pages(self) -> bool:
        """Whether the KV of a sequence can be exported and imported in blocks."""
        ...

    @property
    def side_by_side_from(self) -> int:
        """With so many answers in a step they are computed side by side: each takes as many rows as
        the one with the longest draft. 0 if that is never so."""
        ...

    def decode(self, batch: Batch) -> DecodeStatus:
        """Compute the rows of the batch. Raises EngineFailed when the kernels fail."""
        ...

    @property
    def background_cells(self) -> int:
        """Prompts up to this many tokens can be computed in the background, on threads of their
        own; 0 if that is not possible or would not pay."""
        ...

    def begin_prefill(self, batch: Batch, on_end: Callable[[], None]) -> bool:
        """Start to compute a piece of one prompt in the background. Until `finish_prefill` says
        how it ended, the caller leaves the batch and its sequence alone. Other decodes go on: it
        pauses for them or shares the cores. on_end: called by another thread when the piece has
        ended. False if the backend does not compute this batch in the background."""
        ...

    def stop_prefill(self) -> None:
        """Make the piece in the background end within milliseconds, as ABORTED if it is not
        done; `finish_prefill` is to follow."""
        ...

    def finish_prefill(self, *, wait: bool) -> DecodeStatus | None:
        """How the piece ended, None if it is still being computed. After its end `logits` are
        those of the piece. Raises EngineFailed when the kernels failed."""
        ...

    def logits(self, row: int) -> Logits:
        """[vocabulary] logits of a row that asked for output. A view, valid until the next
        decode; the caller copies before it writes."""
        ...

    def sequence_copy(self, source: int, target: int, start: int, end: int) -> None:
        """Give an empty sequence the KV of another at positions [start, end), in shared cells."""
        ...

    def sequence_remove(self, sequence: int, start: int) -> bool:
        """Remove positions from `start` on. False if that is not possible and nothing changed."""
        ...

    def sequence_end(self, sequence: int) -> int:
        """One past the last position held, 0 for an empty sequence."""
        ...

    @property
    def identity(self) -> str:
        """What exported blocks depend on: weights, kernels and number format. Blocks of another
        identity are never imported."""
        ...

    def export_block(self, sequence: int, start: int, end: int) -> Payload:
        """A copy of the KV of positions [start, end). Raises EngineFailed."""
        ...

    def import_block(self, sequence: int, payload: Payload) -> bool:
        """Append an exported block to a sequence that ends where the block starts. False if the
        kernels refuse it; the sequence is unchanged then."""
        ...

    def interrupt(self) -> None:
        """Make a running decode return ABORTED within milliseconds, and the next ones at once,
        until `clear_interrupt`. A piece in the background goes on."""
        ...

    def clear_interrupt(self) -> None:
        """Let decodes run again."""
        ...

    def close(self) -> None:
        """Free contexts and model; safe to call twice."""
        ...
