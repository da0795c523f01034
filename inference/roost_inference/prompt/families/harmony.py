"""GPT-OSS writes messages into channels, one after the other: thoughts, calls and the answer.

    <|channel|>analysis<|message|>…<|end|><|start|>assistant
    <|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}<|call|>
    <|channel|>final<|message|>…<|return|>

The prompt ends with `<|start|>assistant`. Readers get thoughts as a `<think>` block, as they do
from most models, and calls and the answer as they are.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Literal

from roost_inference.prompt.call_markup import (
    ANY_TEXT,
    CallMarkup,
    CallParser,
    Markers,
    ParsedCall,
    Signature,
)
from roost_inference.prompt.families.json_text import BrokenMarkup, ObjectEnd, arguments_of
from roost_inference.wire.ids import call_id

START, END, CHANNEL = "<|start|>", "<|end|>", "<|channel|>"
MESSAGE, CONSTRAIN = "<|message|>", "<|constrain|>"
PARTS = (START, END, CHANNEL, MESSAGE, CONSTRAIN)
HEADER_CHARACTERS_MAX = 256
PART_CHARACTERS_MAX = max(map(len, PARTS))

_RECIPIENT = re.compile(r"to=functions\.([A-Za-z0-9_.:/-]{1,128})")
_CHANNEL = re.compile(r"<\|channel\|>\s*([a-z]+)")
_BODY_ENDS = re.compile(r"<\|(?:end|call|return|start|channel)\|>")
_HEADER_BEGINS = ("<|", "to=", "assistant")

Kind = Literal["thought", "call", "text"]


class HarmonyChannels(CallMarkup):
    """Channels; see the module. One call an answer, as its template allows."""

    opening = CHANNEL
    parts = PARTS
    always_parses = True

    def rules(self, functions: Sequence[Signature], markers: Markers) -> list[str]:
        """See CallMarkup."""
        channel, message = markers.literal(CHANNEL), markers.literal(MESSAGE)
        # Without a token before it, `json` has to be apart: else it is part of the name.
        form = f'(" "? {markers.literal(CONSTRAIN)} "json" | " json")?'
        calls = []
        for number, function in enumerate(functions):
            to = f" to=functions.{function.name}"
            calls.append(
                f'({json.dumps(to)} {channel} "commentary" " "? '
                f"| {channel} {json.dumps(f'commentary{to}')}) {form} {message} arguments_{number}"
            )
        return [*_words(markers), f"call: {' | '.join(calls)}"]

    def parser(self, functions: Sequence[Signature]) -> CallParser:
        """See CallMarkup."""
        return HarmonyParser()

    def forced(self, more: str) -> str:
        """See CallMarkup."""
        return "start: thought? call"

    def with_body(self, more: str) -> str:
        """See CallMarkup."""
        return "start: thought? (call | final body)"

    def free(self, more: str, markers: Markers) -> list[str]:
        """See CallMarkup."""
        return ["start: thought? preamble? (call | final WORDS)"]

    def without_calls(self, markers: Markers) -> list[str]:
        """See CallMarkup."""
        return [*_words(markers), "start: thought? final WORDS"]

    def framed(self, grammar: str, body: str | None, markers: Markers) -> str:
        """See CallMarkup."""
        if body is None:
            return grammar
        rules = ["%llguidance {}", *_words(markers), "start: thought? final body", body]
        return "\n".join(rules) + "\n"


def _words(markers: Markers) -> list[str]:
    channel, message, end, start = map(markers.literal, (CHANNEL, MESSAGE, END, START))
    # Written in letters, the end has to end the words by itself.
    lazy = "[lazy]" if markers.token(END) is None else ""
    return [
        f"WORDS: {ANY_TEXT}",
        f"ended{lazy}: WORDS {end}",
        f'thought: {channel} "analysis" {message} ended {start} "assistant"',
        f'preamble: {channel} "commentary" {message} ended {start} "assistant"',
        f'final: {channel} "final" {message}',
    ]


class HarmonyParser:
    """A CallParser that also takes the channels out of the text."""

    def __init__(self) -> None:
        self.truncated = False
        self._held = ""
        self._kind: Kind | None = None  # of the message that is being read, None in a header
        self._name = ""
        self._header = ""
        self._object = ObjectEnd()  # of the call that is being read
        self._seeks_objects = True

    def feed(self, text: str) -> Iterator[str | ParsedCall]:
        """See CallParser."""
        self._held += text
        while True:
            before = (self._kind, len(self._held))
            yield from self._read_header() if self._kind is None else self._read_body()
            if (self._kind, len(self._held)) == before:
                return

    def finish(self, *, cut_off: bool) -> list[str | ParsedCall]:
        """See CallParser."""
        held, self._held = self._held, ""
        if self._kind == "call":
            if cut_off:
                self.truncated = True
                return []
            if self._ends_from(held) is None:
                self._seeks_objects = False  # one never ended: then a part ends each call
                return [*self.feed(held), *self.finish(cut_off=False)]
            return list(self._call(held))
        if self._kind == "thought":
            return [f"{held}\n</think>\n"]
        if self._kind is None:
            return [held] if held and not _is_markup(held) else []
        return [held] if held else []

    def _read_header(self) -> Iterator[str | ParsedCall]:
        at = self._held.find(MESSAGE)
        length = len(self._held) if at < 0 else at
        if not _may_be_header(self._held) or length > HEADER_CHARACTERS_MAX:
            self._kind = "text"  # a model that writes no channels
            if begins := _BODY_ENDS.match(self._held):  # would end the text at once
                self._held = self._held[begins.end() :]
                yield begins[0]
            return
        if at < 0:
            return
        self._header, self._held = self._held[: at + len(MESSAGE)], self._held[at + len(MESSAGE) :]
        channel, recipient = _CHANNEL.search(self._header), _RECIPIENT.search(self._header)
        if recipient is not None:
            self._kind, self._name, self._object = "call", recipient[1], ObjectEnd()
        elif channel is not None and channel[1] == "analysis":
            self._kind = "thought"
            yield "<think>\n"
        else:
            self._kind = "text"

    def _read_body(self) -> Iterator[str | ParsedCall]:
        ends_from = self._ends_from(self._held)
        end = None if ends_from is None else _BODY_ENDS.search(self._held, ends_from)
        if end is None:
            if self._kind != "call":
                certain = len(self._held) - _begun(self._held)
                ready, self._held = self._held[:certain], self._held[certain:]
                if ready:
                    yield ready
            return
        body, kind, self._kind = self._held[: end.start()], self._kind, None
        # A header begins with what ended the message, unless that closes it.
        closes = end[0] not in (START, CHANNEL)
        self._held = self._held[end.end() if closes else end.start() :]
        if kind == "call":
            yield from self._call(body)
        elif kind == "thought":
            yield f"{body}\n</think>\n\n"
        elif body:
            yield body

    def _ends_from(self, held: str) -> int | None:
        """From where on a part can end the message: the strings in a call's object may be written
        like parts. None while the object has not ended."""
        if self._kind != "call" or not self._seeks_objects:
            return 0
        try:
            return self._object.find(held)
        except BrokenMarkup:
            return 0

    def _call(self, body: str) -> Iterator[str | ParsedCall]:
        """The call of this body, or its markup as text where it is none."""
        try:
            yield ParsedCall(call_id(), self._name, arguments_of(body.strip()))
        except BrokenMarkup:
            yield f"{self._header}{body}"


def _may_be_header(text: str) -> bool:
    """Whether the text is the beginning of a header, as far as it has come."""
    bare = text.lstrip()
    return any(begin.startswith(bare) or bare.startswith(begin) for begin in _HEADER_BEGINS)


def _begun(text: str) -> int:
    """Length of the end of `text` that may be the beginning of a part."""
    at = text.rfind("<|", max(len(text) - PART_CHARACTERS_MAX, 0))
    if at >= 0 and "|>" not in text[at:]:
        return len(text) - at
    return 1 if text.endswith("<") else 0


def _is_markup(text: str) -> bool:
    """Whether a header that never ended says nothing to a reader."""
    return text.lstrip().startswith(_HEADER_BEGINS)
