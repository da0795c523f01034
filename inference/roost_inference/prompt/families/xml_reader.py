"""Reads calls that have a tag for each parameter, and makes JSON of them."""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from roost_inference.prompt.call_markup import CALL_CLOSE, ParsedCall
from roost_inference.prompt.families.json_text import BrokenMarkup
from roost_inference.prompt.families.plain_schemas import TYPES, type_of
from roost_inference.wire.ids import call_id

PARAMETER_END = "</parameter>"
VALUE_END = f"\n{PARAMETER_END}"
TAG_CHARACTERS_MAX = 512
BLANKS_MAX = 64

# The types that each parameter may have, by its name.
Parameters = Mapping[str, frozenset[str]]

_FUNCTION = re.compile(r"<function=([A-Za-z0-9_.:/-]{1,128})>")
_PARAMETER = re.compile(r"<parameter=([^<>\n\r]{1,400})>")
_FUNCTION_END = "</function>"
# Values as Python spells them, which templates write into prompts.
_PYTHONS = {"True": "true", "False": "false", "None": "null"}


class XmlReader:
    """A CallReader of one call. functions: the parameters of each that may be called; what calls
    another one is no call."""

    def __init__(self, functions: Mapping[str, Parameters]) -> None:
        self._functions = functions
        self._name = ""
        self._values: dict[str, str] = {}  # by parameter, as JSON
        self._parameter: str | None = None  # whose value is being read
        self._at = self._searched = 0
        self._has_ended = self._is_done = False

    @property
    def may_end(self) -> bool:
        """See CallReader."""
        return self._is_done

    def take(self, text: str) -> tuple[ParsedCall | None, int] | None:
        """See CallReader."""
        if self._is_done:
            return None, 0
        while self._step(text):
            if self._is_done:
                pairs = (
                    f"{json.dumps(k, ensure_ascii=False)}: {v}" for k, v in self._values.items()
                )
                return ParsedCall(call_id(), self._name, f"{{{', '.join(pairs)}}}"), self._at
        return None

    def _step(self, text: str) -> bool:
        """Read one tag or value; False while it is not all there. Raises BrokenMarkup."""
        if self._parameter is not None:
            return self._read_value(text)
        start = self._at
        while start < len(text) and text[start].isspace():
            start += 1
            if start - self._at > BLANKS_MAX:
                raise BrokenMarkup
        if not self._name:
            tag = self._tag(text, start, _FUNCTION, "<function=")
            if tag is not None:
                self._name = tag[1]
                if self._name not in self._functions:
                    raise BrokenMarkup
            return tag is not None
        if self._has_ended:
            self._is_done = self._literal(text, start, CALL_CLOSE)
            return self._is_done
        if text[start : start + 2] in ("", "<", "</"):
            self._has_ended = self._literal(text, start, _FUNCTION_END)
            return self._has_ended
        tag = self._tag(text, start, _PARAMETER, "<parameter=")
        if tag is not None:
            self._parameter, self._searched = tag[1], self._at
        return tag is not None

    def _literal(self, text: str, start: int, wanted: str) -> bool:
        """Whether this text is there; False while it may come."""
        found = text[start : start + len(wanted)]
        if found == wanted:
            self._at = start + len(wanted)
        elif not wanted.startswith(found):
            raise BrokenMarkup
        return found == wanted

    def _tag(
        self, text: str, start: int, wanted: re.Pattern[str], begins: str
    ) -> re.Match[str] | None:
        """The tag that is there; None while it may come."""
        tag = wanted.match(text, start)
        if tag is not None:
            self._at = tag.end()
            return tag
        found = text[start : start + TAG_CHARACTERS_MAX]
        may_come = begins.startswith(found) or found.startswith(begins)
        if not may_come or len(found) == TAG_CHARACTERS_MAX or ">" in found or "\n" in found:
            raise BrokenMarkup
        return None

    def _read_value(self, text: str) -> bool:
        end = text.find(PARAMETER_END, self._searched)
        if end < 0:
            self._searched = max(self._at, len(text) - len(PARAMETER_END))
            return False
        assert self._parameter is not None
        value = text[self._at : end].removeprefix("\n").removesuffix("\n")
        types = self._functions[self._name].get(self._parameter, frozenset(TYPES))
        self._values[self._parameter] = json_of(value, types)
        self._parameter, self._at = None, end + len(PARAMETER_END)
        return True


def json_of(text: str, types: frozenset[str]) -> str:
    """The JSON of a value of these types. One that may be a string is one if it is no JSON of
    another type that it may have; text that is nothing of what it may be is a string, too."""
    bare = text.strip()
    if "string" not in types:
        bare = _PYTHONS.get(bare, bare)
    if types - {"string"} and _is_json_of(bare, types - {"string"}):
        return bare
    return json.dumps(text, ensure_ascii=False)


def _is_json_of(text: str, types: frozenset[str]) -> bool:
    try:
        value: Any = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    kind = type_of(value)
    return kind in types or (kind == "integer" and "number" in types)


def _refuse(name: str) -> NoReturn:
    """NaN and infinities are no JSON."""
    raise ValueError(name)
