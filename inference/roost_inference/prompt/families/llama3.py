"""Llama 3's tool calls: the whole answer is one object with a name and parameters."""

import re
from collections.abc import Iterator, Sequence

from roost_inference.prompt.call_markup import (
    ANY_TEXT,
    CallMarkup,
    CallParser,
    Markers,
    ParsedCall,
    Signature,
)
from roost_inference.prompt.families.json_text import (
    BrokenMarkup,
    ObjectEnd,
    call_of_object,
    head_of,
)

PYTHON_TAG = "<|python_tag|>"

_BEGIN = r'\s*(?:<\|python_tag\|>)?\s*\{\s*"name"\s*:'
_FREE = ANY_TEXT + r' & ~/\s*(<\|python_tag\|>)?\s*\{\s*"name"(?s:.*)/'
_BEGINS = re.compile(_BEGIN)
# What the beginning of a call looks like while it is not all there.
_STEPS = ("{", '"name"', ":")


class LlamaCalls(CallMarkup):
    """One call, which begins the answer. Llama's templates take no more than one."""

    parts = (PYTHON_TAG,)

    def rules(self, functions: Sequence[Signature], markers: Markers) -> list[str]:
        """See CallMarkup."""
        calls = [
            f"{head_of(function.name, 'parameters')} arguments_{number}"
            for number, function in enumerate(functions)
        ]
        return [f'call: ({" | ".join(calls)}) "}}"']

    def parser(self, functions: Sequence[Signature]) -> CallParser:
        """See CallMarkup."""
        return LlamaCallParser(frozenset(function.name for function in functions))

    def forced(self, more: str) -> str:
        """See CallMarkup."""
        return "start: call"

    def with_body(self, more: str) -> str:
        """See CallMarkup."""
        return "start: body | call"

    def free(self, more: str, markers: Markers) -> list[str]:
        """See CallMarkup. An answer that begins like a call is one."""
        return [f"FREE: {_FREE}", "start: FREE | call"]

    def without_calls(self, markers: Markers) -> list[str]:
        """See CallMarkup."""
        return [f"FREE: {_FREE}", "start: FREE"]


class LlamaCallParser:
    """A CallParser. What begins like a call and is none, or calls what nobody declared, is text."""

    def __init__(self, names: frozenset[str]) -> None:
        self.truncated = False
        self._names = names
        self._held = ""
        self._end = ObjectEnd()
        self._is_text = self._has_called = False

    def feed(self, text: str) -> Iterator[str | ParsedCall]:
        """See CallParser."""
        if self._is_text:
            yield text
            return
        self._held += text
        try:
            call = self._take()
        except BrokenMarkup:
            self._is_text = True
            held, self._held = self._held, ""
            yield held
            return
        if call is not None:
            self._has_called = True
            yield call

    def finish(self, *, cut_off: bool) -> list[str | ParsedCall]:
        """See CallParser."""
        held, self._held = self._held, ""
        if self._has_called and not held.strip(" \t\r\n;"):
            return []
        if cut_off and _BEGINS.match(held):
            self.truncated = True
            return []
        return [held] if held else []

    def _take(self) -> ParsedCall | None:
        """The call that is held, None while more may come. Raises BrokenMarkup."""
        held = self._held.lstrip(" \t\r\n;" if self._has_called else None)
        if PYTHON_TAG.startswith(held):
            return None
        body = held.removeprefix(PYTHON_TAG)
        if not _BEGINS.match(body):
            if _may_begin(body):
                return None
            raise BrokenMarkup
        body = body.lstrip()
        end = self._end.find(body)
        if end is None:
            return None
        call = call_of_object(body[:end])
        if call.name not in self._names:
            raise BrokenMarkup
        self._held, self._end = body[end:], ObjectEnd()
        return call


def _may_begin(text: str) -> bool:
    """Whether the text may become the beginning of a call."""
    for step in _STEPS:
        text = text.lstrip()
        if len(text) <= len(step):
            return step.startswith(text)
        if not text.startswith(step):
            return False
        text = text[len(step) :]
    return True
