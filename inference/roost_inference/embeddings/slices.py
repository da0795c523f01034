"""Cuts the texts of a request into slices that are computed at once. No I/O."""

from collections.abc import Iterator, Sequence
from itertools import count, islice

from roost_inference.batch import Tokens

# Texts of one step of the kernels, and their tokens together where one text has not more. A step
# shares the cores with the answers and can't be stopped for them, so it stays short.
SEQUENCES_MAX = 64
SLICE_TOKENS = 512


def slices(texts: Sequence[Tokens], tokens_max: int) -> Iterator[range]:
    """Ranges of texts, in order. tokens_max: what the kernels can compute at once; no text is
    longer."""
    limit = min(SLICE_TOKENS, tokens_max)
    start = 0
    while start < len(texts):
        end, total = start + 1, len(texts[start])
        for number in islice(count(end), SEQUENCES_MAX - 1):
            if number == len(texts) or total + len(texts[number]) > limit:
                break
            end, total = number + 1, total + len(texts[number])
        yield range(start, end)
        start = end
