"""JSON inside generated text: where an object ends, and which call it is."""

import json
import re

from roost_inference.prompt.call_markup import ParsedCall
from roost_inference.wire.ids import call_id

DEPTH_MAX = 128

_DECODER = json.JSONDecoder()
_HEAD = re.compile(
    r'\{\s*"name"\s*:\s*(?P<name>"(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*'
)
_REST = re.compile(r'\s*(?:,\s*"id"\s*:\s*"[^"]*"\s*)?\}\s*')


class BrokenMarkup(Exception):
    """The text is no call after all."""


class ObjectEnd:
    """Finds the end of a JSON object in text that grows, looking at each character once."""

    def __init__(self) -> None:
        self._at = self._depth = 0
        self._in_string = self._escaped = False
        self._found: int | None = None

    def find(self, text: str, start: int = 0) -> int | None:
        """One past the closing bracket; None while it has not come. White space may precede the
        object. Raises BrokenMarkup if something else does."""
        if self._found is not None:
            return self._found
        for at in range(max(self._at, start), len(text)):
            character = text[at]
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._in_string = False
            elif self._depth == 0 and character != "{":
                if not character.isspace():
                    raise BrokenMarkup
            elif character in "{[":
                self._depth += 1
                if self._depth > DEPTH_MAX:
                    raise BrokenMarkup
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self._found = at + 1
                    return self._found
            elif character == '"':
                self._in_string = True
        self._at = len(text)
        return None


def arguments_of(text: str) -> str:
    """The text if it is a JSON object. Raises BrokenMarkup."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise BrokenMarkup from None
    if not isinstance(value, dict):
        raise BrokenMarkup
    return text


def head_of(name: str, key: str) -> str:
    """What a call that is one object begins with, up to the value of `key`, as a grammar has it."""
    return json.dumps(f'{{"name": {json.dumps(name)}, "{key}": ')


def call_of_object(text: str) -> ParsedCall:
    """The call that an object with a name and arguments, or parameters, is; the arguments keep
    their text. Raises BrokenMarkup."""
    head = _HEAD.match(text)
    if head is None:
        raise BrokenMarkup
    try:
        arguments, end = _DECODER.raw_decode(text, head.end())
        name = json.loads(head["name"])
    except (ValueError, RecursionError):
        raise BrokenMarkup from None
    if not isinstance(arguments, dict) or not _REST.fullmatch(text, end):
        raise BrokenMarkup
    return ParsedCall(call_id(), name, text[head.end() : end])
