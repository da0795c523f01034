"""Gemma 4's tool calls: a name and values in its own form, between tokens of their own.

    <|tool_call>call:NAME{place:<|"|>Lisbon<|"|>}<tool_call|>

Thoughts stand in a channel before the answer; readers get them as a `<think>` block.
"""

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial

from roost_inference.prompt.call_markup import (
    CallMarkup,
    CallParser,
    Markers,
    ParsedCall,
    Signature,
)
from roost_inference.prompt.families.gemma_values import QUOTE, ValueRules, object_of
from roost_inference.prompt.families.json_text import BrokenMarkup
from roost_inference.prompt.families.opened_calls import OpenedCallParser, begun_length
from roost_inference.prompt.families.plain_schemas import alternatives, unwritable
from roost_inference.wire.ids import call_id

OPENING, CLOSING = "<|tool_call>", "<tool_call|>"
CHANNEL, CHANNEL_END = "<|channel>", "<channel|>"
THOUGHT = f"{CHANNEL}thought\n"
BLANKS_MAX = 16
HEAD_CHARACTERS_MAX = 192

_HEAD = re.compile(rf"\s{{0,{BLANKS_MAX}}}call:([A-Za-z0-9_.:/-]{{1,128}})(?=\{{)")
_STOPS = re.compile(f"{re.escape(QUOTE)}|{re.escape(CLOSING)}")
_STOP_CHARACTERS_MAX = max(len(QUOTE), len(CLOSING))


class GemmaCalls(CallMarkup):
    """See the module."""

    writes_json = False
    opening = OPENING
    parts = (OPENING, CLOSING, QUOTE, CHANNEL, CHANNEL_END)
    always_parses = True

    def rules(self, functions: Sequence[Signature], markers: Markers) -> list[str]:
        """See CallMarkup."""
        rules, calls = [], []
        for number, function in enumerate(functions):
            objects = alternatives(function.parameters, function.parameters)
            if len(objects) != 1:
                raise unwritable("it has several sets of parameters")
            values = ValueRules(function.parameters, f"value_{number}", markers)
            body = values.object(f"object_{number}", objects[0])
            rules += values.rules
            calls.append(f"{json.dumps(f'call:{function.name}')} {body}")
        return [
            *rules,
            f"open: {markers.literal(OPENING)}",
            f"call: ({' | '.join(calls)}) {markers.literal(CLOSING)}",
            "more: open call",
        ]

    def parser(self, functions: Sequence[Signature]) -> CallParser:
        """See CallMarkup."""
        return GemmaParser(frozenset(function.name for function in functions))

    def free(self, more: str, markers: Markers) -> list[str]:
        """See CallMarkup."""
        return _with_thought(super().free(more, markers), markers)

    def without_calls(self, markers: Markers) -> list[str]:
        """See CallMarkup."""
        return _with_thought(super().without_calls(markers), markers)


def _with_thought(rules: Sequence[str], markers: Markers) -> list[str]:
    """The rules of an answer before which there may be a thought. In letters it is text."""
    channel, end = markers.token(CHANNEL), markers.token(CHANNEL_END)
    if channel is None or end is None:
        return list(rules)
    return [
        *(rule.replace("start:", "answer:", 1) for rule in rules),
        "WORDS: /(?s:.*)/",
        f'thought: <[{channel}]> "thought\\n" WORDS <[{end}]>',
        "start: thought? answer",
    ]


class GemmaParser:
    """A CallParser that also tells of the thought before the answer."""

    def __init__(self, names: frozenset[str]) -> None:
        self.truncated = False
        self._calls = OpenedCallParser(OPENING, partial(_Reader, names))
        self._held = ""
        self._place = "start"  # then "thought", then "answer"

    def feed(self, text: str) -> Iterator[str | ParsedCall]:
        """See CallParser."""
        if self._place == "answer":
            yield from self._calls.feed(text)
            return
        self._held += text
        if self._place == "start":
            bare = self._held.lstrip()
            may_think = len(self._held) - len(bare) <= BLANKS_MAX
            if may_think and bare != THOUGHT and THOUGHT.startswith(bare):
                return
            if not may_think or not bare.startswith(THOUGHT):
                yield from self._begin_answer(self._held)
                return
            self._place, self._held = "thought", bare[len(THOUGHT) :]
            yield "<think>\n"
        yield from self._read_thought()

    def finish(self, *, cut_off: bool) -> list[str | ParsedCall]:
        """See CallParser."""
        held, self._held = self._held, ""
        if self._place == "thought":
            return [f"{held}\n</think>\n"]
        before = list(self._begin_answer(held)) if self._place == "start" else []
        rest = self._calls.finish(cut_off=cut_off)
        self.truncated = self._calls.truncated
        return [*before, *rest]

    def _read_thought(self) -> Iterator[str | ParsedCall]:
        end = self._held.find(CHANNEL_END)
        if end < 0:
            certain = len(self._held) - begun_length(self._held, CHANNEL_END)
            ready, self._held = self._held[:certain], self._held[certain:]
            if ready:
                yield ready
            return
        yield f"{self._held[:end]}\n</think>\n\n"
        yield from self._begin_answer(self._held[end + len(CHANNEL_END) :])

    def _begin_answer(self, text: str) -> Iterator[str | ParsedCall]:
        self._place, self._held = "answer", ""
        yield from self._calls.feed(text)


class _Reader:
    """Reads one call behind its opening; what calls another function is no call."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._at = 0
        self._in_string = self._is_done = False

    @property
    def may_end(self) -> bool:
        """See CallReader."""
        return self._is_done

    def take(self, text: str) -> tuple[ParsedCall | None, int] | None:
        """See CallReader."""
        if self._is_done:
            return None, 0
        head = _HEAD.match(text)
        if head is None:
            bare = text.lstrip()
            may_come = "call:".startswith(bare) or bare.startswith("call:")
            if not may_come or len(text) > HEAD_CHARACTERS_MAX or "{" in text:
                raise BrokenMarkup
            return None
        if head[1] not in self._names:
            raise BrokenMarkup
        self._at = max(self._at, head.end())
        while stop := _STOPS.search(text, self._at):
            self._at = stop.end()
            if stop[0] == QUOTE:
                self._in_string = not self._in_string
            elif not self._in_string:
                self._is_done = True
                arguments = object_of(text[head.end() : stop.start()])
                return ParsedCall(call_id(), head[1], arguments), self._at
        self._at = max(self._at, len(text) - _STOP_CHARACTERS_MAX + 1)
        return None
