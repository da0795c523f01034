"""Ranks texts by how much they have to do with a question: Okapi BM25.

Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009).
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

SATURATION: Final = 1.2  # k1
LENGTH_WEIGHT: Final = 0.75  # b
TERMS_MAX: Final = 128  # of the question
QUESTION_CHARACTERS: Final = 4000  # of each end of a long question
SLICE_CHARACTERS: Final = 16_384  # that one call reads, so that other threads get their turn
# Words and numbers; Chinese, Japanese and Korean characters count alone.
_TERM = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")


def relevance(question: str, texts: Sequence[str]) -> list[float]:
    """How much each text has to do with the question; 0 where no word is in both."""
    if len(question) > 2 * QUESTION_CHARACTERS:
        question = f"{question[:QUESTION_CHARACTERS]} {question[-QUESTION_CHARACTERS:]}"
    terms = [term for term, _ in Counter(_terms(question)).most_common(TERMS_MAX)]
    wanted = frozenset(terms)
    counts: list[Counter[str]] = []
    lengths: list[int] = []
    for text in texts:
        found: Counter[str] = Counter()
        length = 0
        for term in _terms(text):
            length += 1
            if term in wanted:
                found[term] += 1
        counts.append(found)
        lengths.append(length)
    average = sum(lengths) / len(lengths) if any(lengths) else 1.0
    weights = {term: _weight(sum(term in one for one in counts), len(texts)) for term in terms}
    return [
        sum(weights[term] * _share(count, length / average) for term, count in found.items())
        for found, length in zip(counts, lengths, strict=True)
    ]


def _weight(holders: int, texts: int) -> float:
    """The rarer a term, the more it tells."""
    return math.log(1 + (texts - holders + 0.5) / (holders + 0.5))


def _share(count: int, length: float) -> float:
    return count * (SATURATION + 1) / (count + SATURATION * (1 - LENGTH_WEIGHT * (1 - length)))


def _terms(text: str) -> Iterator[str]:
    for start in range(0, len(text), SLICE_CHARACTERS):
        yield from _TERM.findall(text[start : start + SLICE_CHARACTERS].lower())
