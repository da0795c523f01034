"""Chooses which rows of a prompt are replaced, and by what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from roost_platform.gateway.compression.bm25 import relevance
from roost_platform.gateway.compression.rows import Row, question, replaceable, text_of, with_text
from roost_platform.gateway.compression.sent_rows import SentRows, chain
from roost_platform.gateway.compression.stubs import ORIGINAL, STUB, reference_of, shown, stub
from roost_platform.gateway.request import ModelRequest
from roost_platform.gateway.sizes import text_bytes

TARGET_SHARE: Final = 0.6  # of the threshold, so that the next turns need no further change
TOOL_BYTES: Final = 1024  # what the tool itself adds to a prompt, and a little
CUT_BYTES_MIN: Final = 1024  # of a relevant text, less of it helps nobody


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows as they are sent, in the same number and order. originals: texts that were left out,
    by reference. prompt_bytes: of the whole prompt as it is sent.
    """

    rows: Sequence[Row]
    originals: Mapping[str, str]
    prompt_bytes: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """above_bytes: prompts up to it stay as they are. target_bytes: what a longer one is brought
    to. is_forced: also rows that a provider may have in its cache are replaced.
    """

    above_bytes: int
    target_bytes: int
    is_forced: bool = False


def plan(request: ModelRequest, key_id: str, bounds: Bounds, sent: SentRows, now: float) -> Plan:
    """The prompt of this request. A row that was replaced once is replaced by the same text again;
    the rest of a prefix that was sent lately stays as it is.
    """
    rows = request.messages
    names = chain(f"{key_id}\0{request.session}", rows)
    forms, warm = sent.forms(names, now)
    candidates = replaceable(request)
    originals: dict[str, str] = {}
    size = request.prompt_bytes
    for index, form in enumerate(forms):
        if form != ORIGINAL:
            size -= _saved(rows[index], key_id, form)
    if size > bounds.above_bytes or bounds.is_forced:
        start = 0 if bounds.is_forced else warm
        free = [index for index in candidates if index >= start and forms[index] == ORIGINAL]
        _choose(rows, free, key_id, size, bounds.target_bytes, forms)
    planned: list[Row] = []
    size = request.prompt_bytes
    for row, form in zip(rows, forms, strict=True):
        text = text_of(row)
        if form == ORIGINAL or text is None:
            planned.append(row)
            continue
        reference = reference_of(key_id, text)
        originals[reference] = text
        planned.append(with_text(row, shown(text, reference, form)))
        size -= _saved(row, key_id, form)
    sent.remember(names, forms, now)
    return Plan(planned, originals, size)


def _choose(
    rows: Sequence[Row], free: Sequence[int], key_id: str, size: int, target: int, forms: list[int]
) -> None:
    """Set the forms of the free rows: the most relevant stay, of equals the newest, as far as the
    target allows. Of a relevant one that does not fit, the beginning and the end stay.
    """
    texts = {index: text_of(rows[index]) or "" for index in free}
    savings = {index: _saved(rows[index], key_id, STUB) for index in free}
    free = [index for index in free if savings[index] > 0]
    if sum(savings[index] for index in free) <= TOOL_BYTES:
        return
    scores = dict(
        zip(free, relevance(question(rows), [texts[index] for index in free]), strict=True)
    )
    left = target - (size - sum(savings[index] for index in free))
    for index in sorted(free, key=lambda index: (scores[index], index), reverse=True):
        if savings[index] <= left:
            left -= savings[index]
        elif scores[index] > 0 and left >= CUT_BYTES_MIN:
            text = texts[index]
            forms[index] = max(1, left * len(text) // max(1, text_bytes(text)))
            left = 0
        else:
            forms[index] = STUB


def _saved(row: Row, key_id: str, form: int) -> int:
    """Bytes that a row in this form saves; a stub may be longer than its text."""
    text = text_of(row) or ""
    reference = reference_of(key_id, text)
    new = stub(text, reference) if form == STUB else shown(text, reference, form)
    return text_bytes(text) - text_bytes(new)
