"""A prompt in sections: what it began with, what was said before, and what it ended with."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from roost.agent import Agent
from roost.prompt import LAST_STEP, is_unasked, marker, tool_result, unfenced, user_blocks
from roost_workflows.ports import TranscriptMessage
from roost_workflows.turn.requests import declared_tools

ENTRY_CHARS_MAX: Final = 20_000  # of one entry on the page; the JSON has all of it
HISTORY_SHOWN_MAX: Final = 200  # entries of the history on the page, newest kept

TITLES: Final[Mapping[str, str]] = {
    "context": "What the group said before",
    "quote": "Quoted message",
    "payload": "Payload",
    "file": "File",
    "words": "Words",
}


@dataclass(frozen=True, slots=True)
class PromptEntry:
    """One piece of the prompt. characters: of the whole text, of which `text` may be the start.

    kind: instructions | tool | user | assistant | call | result | note | context | quote |
        payload | file | words.
    """

    kind: str
    title: str
    text: str
    characters: int


@dataclass(frozen=True, slots=True)
class PromptSection:
    """Pieces that belong together. left_out: entries before the first one that are not shown."""

    name: str
    entries: tuple[PromptEntry, ...]
    left_out: int = 0

    @property
    def characters(self) -> int:
        """How long the shown entries are, in full."""
        return sum(entry.characters for entry in self.entries)


def entry(kind: str, title: str, text: str) -> PromptEntry:
    """An entry with its text bounded."""
    return PromptEntry(kind, title, text[:ENTRY_CHARS_MAX], len(text))


def sections_of(
    agent: Agent,
    shown: Sequence[TranscriptMessage],
    *,
    last: bool,
    pictures: Mapping[str, str] | None,
) -> tuple[PromptSection, ...]:
    """The prompt's sections in the order of the prompt.

    shown: the messages that the prompt had, after shortening. last: whether tools were taken away.
    """
    first, after = _last_words(shown)
    history = [one for message in shown[:first] for one in _entries(message, pictures)]
    words = [one for message in shown[first:after] for one in _user_entries(message, pictures)]
    since = [one for message in shown[after:] for one in _entries(message, pictures)]
    if last and agent.tools:
        since.append(entry("note", "Added by Roost", f"[{LAST_STEP}]"))
    tools = [
        entry("tool", tool["function"]["name"], json.dumps(tool, ensure_ascii=False))
        for tool in declared_tools(agent)
    ]
    sections = (
        PromptSection("Instructions", (entry("instructions", "System", agent.instructions),)),
        PromptSection("Tools", tuple(tools)),
        PromptSection(
            "History",
            tuple(history[-HISTORY_SHOWN_MAX:]),
            left_out=max(0, len(history) - HISTORY_SHOWN_MAX),
        ),
        PromptSection("The last words", tuple(words)),
        PromptSection("Since then in this turn", tuple(since)),
    )
    return tuple(section for section in sections if section.entries)


def _last_words(shown: Sequence[TranscriptMessage]) -> tuple[int, int]:
    """From where to where the last messages of users stand that follow one another."""
    after = next((i + 1 for i in reversed(range(len(shown))) if shown[i].role == "user"), 0)
    first = after
    while first and shown[first - 1].role == "user":
        first -= 1
    return first, after


def _user_entries(
    message: TranscriptMessage, pictures: Mapping[str, str] | None
) -> Sequence[PromptEntry]:
    """Each block of a user's message by itself."""
    entries = [entry(kind, TITLES[kind], text) for kind, text in user_blocks(message, pictures)]
    shown = [file for file in message.files if pictures and file.id in pictures]
    entries += [entry("file", "Picture", f"[picture {file.id}: shown]") for file in shown]
    return [*entries, *_note(message)]


def _entries(
    message: TranscriptMessage, pictures: Mapping[str, str] | None
) -> Sequence[PromptEntry]:
    """A message of the history: a user's in one piece, calls and results apart."""
    if message.role == "user":
        blocks = [text for _, text in user_blocks(message, pictures)]
        return [entry("user", message.name or "User", "\n".join(blocks)), *_note(message)]
    if message.role == "tool":
        result: dict[str, Any] = tool_result(message)
        return [entry("result", f"Result of {message.name}", str(result["content"]))]
    if message.role == "system":
        return [entry("note", "Left out", f"[{unfenced(message.content)}]")]
    entries = [entry("assistant", "Agent", message.content)] if message.content else []
    entries += [
        entry("call", f"Call of {name}", arguments) for _, name, arguments in message.tool_calls
    ]
    return [*_note(message), *entries] if is_unasked(message) else [*entries, *_note(message)]


def _note(message: TranscriptMessage) -> Sequence[PromptEntry]:
    return [entry("note", "Added by Roost", marker(message))] if message.note else []
