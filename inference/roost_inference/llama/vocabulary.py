"""The tokens of a loaded GGUF model: text to tokens and back, from any thread."""

import functools
import threading
from collections.abc import Iterable
from typing import Any

from llguidance import LLTokenizer

from roost_inference.errors import EngineUnavailable
from roost_inference.llama import bindings
from roost_inference.llama.token_floor import TokenFloor


class LlamaVocabulary:
    """Tokens of a loaded model; thread-safe, as llama.cpp's vocabulary is read-only."""

    def __init__(self, model: Any) -> None:
        self._handle = bindings.vocabulary(model)
        self._pieces: dict[int, bytes] = {}
        self._grammar: LLTokenizer | None = None
        self._lock = threading.Lock()
        self.size = bindings.vocabulary_size(self._handle)
        self.end_tokens = bindings.end_tokens(self._handle)

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids; see Vocabulary."""
        return bindings.tokenize(self._handle, text, special=special)

    def tokens_at_least(self, text: str) -> int:
        """A lower bound of the tokens; see Vocabulary. The first call takes a tenth of a second."""
        return self._token_floor.tokens(text)

    @functools.cached_property
    def _token_floor(self) -> TokenFloor:
        """Reads every token once, which takes a tenth of a second."""
        if not bindings.covers_bytes(self._handle):
            return TokenFloor(0)
        pieces = (
            bindings.token_bytes(self._handle, token, special=True) for token in range(self.size)
        )
        return TokenFloor.of_pieces(pieces, strips_space=bindings.strips_space(self._handle))

    def token_bytes(self, token: int) -> bytes:
        """The bytes of a token, empty for control tokens; remembered."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = bindings.token_bytes(self._handle, token, special=False)
            self._pieces[token] = piece
        return piece

    def show(self, texts: Iterable[str]) -> None:
        """Let `token_bytes` give these texts where each is one control token: they are markup that
        somebody reads. Call it before the first answer."""
        for text in texts:
            tokens = self.tokenize(text)
            if len(tokens) == 1 and tokens[0] not in self.end_tokens:
                self._pieces[tokens[0]] = text.encode()

    def special_text(self, token: int) -> str:
        """A control token as it is written, e.g. <|im_end|>; empty for "none"."""
        if token < 0:
            return ""
        return bindings.token_bytes(self._handle, token, special=True).decode("utf-8", "replace")

    @property
    def bos_eos(self) -> tuple[int, int]:
        """The tokens that begin and end a text, -1 for "none"."""
        return bindings.bos_eos(self._handle)

    @property
    def adds_bos(self) -> bool:
        """Whether the model's texts begin with its BOS."""
        return bindings.adds_bos(self._handle)

    def grammar_tokenizer(self) -> LLTokenizer:
        """The vocabulary in llguidance's form; built once, in 0.2 s."""
        with self._lock:
            if self._grammar is None:
                eos = self.bos_eos[1]
                end = [eos, *sorted(self.end_tokens - {eos})]
                self._grammar = bindings.grammar_tokenizer(self._handle, end)
            return self._grammar


def check_vocabulary(ours: LlamaVocabulary, theirs: LlamaVocabulary, name: str) -> None:
    """Raise EngineUnavailable unless every token means the same to both models. name: of the draft
    model's file."""
    if ours.size != theirs.size:
        raise EngineUnavailable(
            f"The draft model {name} has another vocabulary: {theirs.size} tokens, "
            f"{ours.size} are needed. Choose a draft model of the same family."
        )
    for token in range(ours.size):
        if ours.special_text(token) != theirs.special_text(token):
            raise EngineUnavailable(
                f"The draft model {name} has another vocabulary: token {token} is "
                f"{theirs.special_text(token)!r}, {ours.special_text(token)!r} is needed. "
                "Choose a draft model of the same family."
            )
    if ours.end_tokens != theirs.end_tokens:
        raise EngineUnavailable(f"The draft model {name} ends its answers with other tokens")
