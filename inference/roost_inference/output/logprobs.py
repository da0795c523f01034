"""Log-probabilities of tokens under the model itself: of those it writes, and of a prompt's."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roost_inference.backend import Logits
from roost_inference.batch import Tokens
from roost_inference.request import PromptToken, TokenLogprob

# Tokens of a prompt whose logprobs are told: the rows of all of them need logits.
PROMPT_LOGPROBS_TOKENS_MAX = 4096

TokenBytes = Callable[[int], bytes]


def token_logprob(logits: Logits, token: int, wanted: int, token_bytes: TokenBytes) -> TokenLogprob:
    """The logprob of a token, and those of the `wanted` likeliest."""
    wide = logits.astype(np.float64)
    wide -= wide.max()
    wide -= np.log(np.exp(wide).sum())
    top = largest(wide, wanted) if wanted else np.zeros(0, np.intp)
    alternatives = tuple(
        TokenLogprob(index, token_bytes(index), float(wide[index])) for index in top.tolist()
    )
    return TokenLogprob(token, token_bytes(token), float(wide[token]), alternatives)


def largest(values: NDArray[np.floating[Any]], count: int) -> NDArray[np.intp]:
    """Indices of the `count` largest values, largest first, ties by index."""
    count = min(count, len(values))
    if count < len(values):
        chosen = np.sort(np.argpartition(values, len(values) - count)[-count:])
    else:
        chosen = np.arange(len(values), dtype=np.intp)
    return chosen[np.argsort(-values[chosen], kind="stable")]


class PromptLogprobs:
    """Gathers the logprobs of a prompt while it is read. Used by the engine thread."""

    def __init__(self, prompt: Tokens, wanted: int, token_bytes: TokenBytes) -> None:
        self._prompt = prompt
        self._wanted = wanted
        self._token_bytes = token_bytes
        # Nothing comes before the first token.
        self._found: list[PromptToken | None] = [None] * len(prompt)
        self._missing = len(prompt) - 1

    @property
    def is_complete(self) -> bool:
        """Whether every token but the first has been told."""
        return self._missing == 0

    def take(self, position: int, logits: Logits) -> None:
        """The logits of a position, which are those of the token after it."""
        after = position + 1
        if after < len(self._prompt) and self._found[after] is None:
            token = int(self._prompt[after])
            found = token_logprob(logits, token, self._wanted, self._token_bytes)
            rank = int((logits > logits[token]).sum()) + 1
            self._found[after] = PromptToken(found, rank)
            self._missing -= 1

    def __iter__(self) -> Iterator[PromptToken | None]:
        return iter(self._found)
