"""Restricts the next token to what a grammar allows, by llguidance."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from roost_inference.errors import BadGrammar, EngineFailed

COMPILED_GRAMMARS_KEPT = 32
# Where all properties of an object are optional, each takes four items of a row.
ITEMS_IN_ROW_MAX = 8192
# How the library says that a token is not one of those that may come next.
NOT_ALLOWED = "doesn't satisfy the grammar"


class Grammar:
    """One request's progress through its grammar. Used by one thread at a time."""

    def __init__(self, matcher: LLMatcher, vocabulary_size: int) -> None:
        self._matcher = matcher
        self._words: NDArray[np.int32] = np.zeros((vocabulary_size + 31) // 32, np.int32)
        self._size = vocabulary_size

    def allowed(self) -> NDArray[np.bool_]:
        """[vocabulary] True where a token may come next. Raises BadGrammar if the grammar
        has become too complex to follow."""
        self._matcher.unsafe_compute_mask_ptr(self._words.ctypes.data, self._words.nbytes)
        if self._matcher.is_error():
            raise _not_followed(self._matcher)
        bits = np.unpackbits(self._words.view(np.uint8), bitorder="little")
        return bits[: self._size].view(np.bool_)

    def accept(self, token: int) -> None:
        """Go on by a generated token. Raises EngineFailed for one that is not allowed, and
        BadGrammar if the grammar has become too complex to follow."""
        if self._matcher.consume_token(token):
            return
        reason = self._matcher.get_error()
        if NOT_ALLOWED in reason:
            raise EngineFailed(f"The grammar refused a token: {reason}")
        raise _not_followed(self._matcher)

    def forced(self) -> list[int]:
        """The tokens of the only text that may follow; empty where there is a choice."""
        return self._matcher.compute_ff_tokens()

    def allowed_prefix(self, tokens: Sequence[int]) -> int:
        """How many of the tokens may follow in this order. Changes nothing."""
        return self._matcher.validate_tokens(list(tokens))

    @property
    def is_complete(self) -> bool:
        """Whether nothing but the end may follow."""
        return self._matcher.is_stopped()


class GrammarCompiler:
    """Compiles grammars, keeping the last few: tools repeat from turn to turn. Thread-safe."""

    def __init__(self, tokenizer: LLTokenizer, vocabulary_size: int) -> None:
        self._tokenizer = tokenizer
        self._size = vocabulary_size
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def compile(self, grammar: str) -> Grammar:
        """The beginning of a grammar (llguidance JSON or Lark text). Raises BadGrammar."""
        with self._lock:
            matcher = self._compiled.get(grammar)
            if matcher is not None:
                self._compiled.move_to_end(grammar)
        if matcher is None:
            matcher = self._build(grammar)
            with self._lock:
                self._compiled[grammar] = matcher
                while len(self._compiled) > COMPILED_GRAMMARS_KEPT:
                    self._compiled.popitem(last=False)
        return Grammar(matcher.deep_copy(), self._size)

    def _build(self, grammar: str) -> LLMatcher:
        if not grammar.strip():
            raise BadGrammar("The grammar is empty")
        # With another log_level llguidance writes warnings to stderr.
        limits = LLParserLimits(max_items_in_row=ITEMS_IN_ROW_MAX)
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=limits)
        if matcher.is_error():
            raise BadGrammar(f"The grammar can't be compiled: {matcher.get_error()}")
        beginning = matcher.deep_copy()  # some are too large from their first token on
        forced = beginning.compute_ff_tokens()
        beginning.compute_bitmask()
        if forced and not beginning.consume_token(forced[0]):
            # It fails only when it is followed, and its reason tells of the library's insides.
            raise BadGrammar("The grammar can't be followed: its text has no end, or is too long")
        if beginning.is_error():
            raise _not_followed(beginning)
        return matcher

    def __len__(self) -> int:
        return len(self._compiled)


def _not_followed(matcher: LLMatcher) -> BadGrammar:
    """The error of a grammar that is at fault itself: whoever sent it can't succeed by a retry."""
    reason = matcher.get_error().strip().splitlines()[0]
    return BadGrammar(f"The grammar can't be followed: {reason}")
