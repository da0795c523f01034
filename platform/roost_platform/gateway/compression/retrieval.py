"""The tool by which a model reads what was left out: how it is offered, and what it answers."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from roost_platform.gateway.answer import AnsweredCall
from roost_platform.gateway.compression.originals import Originals
from roost_platform.gateway.compression.stubs import REFERENCE

log = logging.getLogger(__name__)

NAME: Final = "retrieve"
PART_CHARACTERS: Final = 32_768  # of one answer; a longer text is read in parts
ANSWERS_CHARACTERS_MAX: Final = 262_144  # of all answers within one call of a client
CALLS_MAX: Final = 16  # that are answered in one round
DESCRIPTION: Final = (
    "Read a text that was left out of this conversation to save space. "
    "Such a text is marked by [Left out: reference r-…]."
)
NO_MORE: Final = "No more texts can be read in this answer. Answer with what you know."


def tool_name(body: Mapping[str, Any]) -> str:
    """A name that none of the client's tools has."""
    taken = {_name(tool) for tool in body.get("tools") or ()}
    name, number = NAME, 1
    while name in taken:
        number += 1
        name = f"{NAME}_{number}"
    return name


def _name(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    return function.get("name") if isinstance(function, Mapping) else None


def tool(name: str) -> Mapping[str, Any]:
    """The tool as a provider is told."""
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": DESCRIPTION,
            "parameters": {
                "type": "object",
                "properties": {
                    "reference": {"type": "string", "description": "Such as r-0123456789abcdef."},
                    "start": {
                        "type": "integer",
                        "description": "The character to begin with, of a long text; by default 0.",
                    },
                },
                "required": ["reference"],
            },
        },
    }


@dataclass(slots=True)
class Retrieval:
    """Answers the calls of one request. near: the texts that were left out of it, by reference;
    others are looked up among those of the key.
    """

    key_id: str
    near: Mapping[str, str]
    stored: Originals
    _left: int = ANSWERS_CHARACTERS_MAX
    _told: set[tuple[str, int]] = field(default_factory=set)

    async def answer(self, calls: Sequence[AnsweredCall], *, is_last: bool) -> list[str]:
        """What each call is answered, in words where there is no such text."""
        answers = []
        for number, call in enumerate(calls):
            is_over = number >= CALLS_MAX or self._left <= 0
            answers.append(NO_MORE if is_over else await self._answer(call))
        if is_last and answers:
            answers[-1] = f"{answers[-1]}\n\n{NO_MORE}"
        return answers

    async def _answer(self, call: AnsweredCall) -> str:
        reference, start = _asked(call.arguments)
        if not reference:
            return "Give a reference, such as r-0123456789abcdef, as it stands in the mark."
        if (reference, start) in self._told:
            return "This text stands above already."
        try:
            text = self.near.get(reference) or await self.stored.find(self.key_id, reference)
        except Exception:
            log.exception("a text that was left out can't be read")
            return "This text can't be read now."
        if text is None:
            return f"There is no text of the reference {reference}."
        if start >= len(text) > 0:
            return f"The text has {len(text)} characters only."
        part = text[start : start + min(PART_CHARACTERS, self._left)]
        self._left -= len(part)
        self._told.add((reference, start))
        end = start + len(part)
        if start == 0 and end == len(text):
            return part
        more = f"; call again with start {end} for more" if end < len(text) else ""
        return f"[Characters {start} to {end} of {len(text)}{more}]\n{part}"


def _asked(arguments: str) -> tuple[str, int]:
    """The reference and the start in the arguments of a call, however a model writes them."""
    try:
        given = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        given = {}
    values = given if isinstance(given, dict) else {}
    named = REFERENCE.search(str(values.get("reference") or arguments).lower())
    start = values.get("start")
    first = max(0, start) if isinstance(start, int) else 0
    return named[0] if named else "", first
