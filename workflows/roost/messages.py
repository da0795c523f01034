"""The shape of a transcript message as prompts read it; storage's own record fits it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

# What happened to a message, beside the words of its note.
NoteKind = Literal[
    "",
    "stopped",
    "interrupted",
    "failed",
    "cut_off",  # at the length limit
    "no_answer",
    "files_only",
    "operator",  # a person wrote it in the agent's place
]


class Message(Protocol):
    """One message of a transcript. See TranscriptMessage for what each field means."""

    @property
    def role(self) -> str: ...
    @property
    def content(self) -> str: ...
    @property
    def quoted(self) -> Mapping[str, Any] | None: ...
    @property
    def context(self) -> tuple[tuple[str, str], ...] | None: ...
    @property
    def tool_calls(self) -> tuple[tuple[str, str, str], ...]: ...
    @property
    def tool_call_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def note_kind(self) -> NoteKind: ...
    @property
    def note(self) -> str: ...


@dataclass(frozen=True, slots=True)
class LocalMessage:
    """A message of a conversation held in memory, for unit tests of agents."""

    role: str
    content: str
    quoted: Mapping[str, Any] | None = None
    context: tuple[tuple[str, str], ...] | None = None
    tool_calls: tuple[tuple[str, str, str], ...] = ()
    tool_call_id: str = ""
    name: str = ""
    status: str = ""
    note_kind: NoteKind = ""
    note: str = ""
