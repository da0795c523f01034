"""A transcript message as prompts read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

# What happened to a message, for code to decide by; its note says the same in words.
NoteKind = Literal[
    "",
    "stopped",
    "interrupted",
    "failed",
    "retried",  # it failed, and an operator had it tried again
    "cut_off",  # at the length limit
    "unfinished",  # the engine sent no end
    "filtered",  # the engine's provider stopped it
    "limited",  # a limit of the turn was reached
    "no_answer",
    "files_only",
    "scheduled",  # a schedule brought it at its time
    "operator",  # a person wrote it in the agent's place
    "agent",  # another agent wrote it, to which a task was given
]


FileState = Literal[
    "unread",  # nobody has looked at it, or nothing of it can be shown to a model
    "text",
    "picture",
    "missing",  # it can't be had or read; `reason` says why
]


# Endings of texts that share their MIME type with films and sound: TypeScript, device trees, lists
# of songs.
_TEXT_ENDINGS = (".ts", ".mts", ".cts", ".dts", ".dtsi", ".m3u", ".m3u8", ".pls")


@dataclass(frozen=True, slots=True)
class MessageFile:
    """A file that came with a message, as prompts show it. What was read once never changes.

    text: the beginning of a document, of `characters` in all; pages: 0 where it has none.
    """

    id: str
    kind: str
    name: str = ""
    mime_type: str = ""
    state: FileState = "unread"
    text: str = ""
    characters: int = 0
    pages: int = 0
    reason: str = ""

    @property
    def is_picture(self) -> bool:
        """Whether it came as a picture; a drawing in SVG is text."""
        if self.mime_type.startswith("image/"):
            return not self.mime_type.startswith("image/svg")
        return self.kind in ("photo", "image")

    @property
    def is_recording(self) -> bool:
        """Whether it is sound or film, of which no text is made; code that is said to be is not."""
        if self.kind == "document" and self.name.lower().endswith(_TEXT_ENDINGS):
            return False
        family = self.mime_type.partition("/")[0]
        kinds = ("voice", "audio", "video", "video_note", "animation", "sticker")
        return family in ("audio", "video") or self.kind in kinds


class Message(Protocol):
    """One message of a transcript. See TranscriptMessage for what each field means."""

    @property
    def role(self) -> str:
        """system, user, assistant or tool."""
        ...

    @property
    def content(self) -> str:
        """The text."""
        ...

    @property
    def forwarded_from(self) -> str:
        """Whose words the content is, where a user passed it on; else empty."""
        ...

    @property
    def payload(self) -> str:
        """What came along with a user message and is nobody's words."""
        ...

    @property
    def quoted(self) -> Mapping[str, Any] | None:
        """The quoted passage that a user message came with."""
        ...

    @property
    def context(self) -> tuple[tuple[str, str], ...] | None:
        """What a group said before, as (name, text); None outside groups."""
        ...

    @property
    def files(self) -> tuple[MessageFile, ...]:
        """The files that a user message came with."""
        ...

    @property
    def tool_calls(self) -> tuple[tuple[str, str, str], ...]:
        """The calls of an assistant message: (id, tool, arguments as JSON text)."""
        ...

    @property
    def tool_call_id(self) -> str:
        """The call that a tool message answers."""
        ...

    @property
    def name(self) -> str:
        """Who wrote it, or which tool."""
        ...

    @property
    def status(self) -> str:
        """How the tool call ended."""
        ...

    @property
    def note_kind(self) -> NoteKind:
        """What happened to the message, to decide by."""
        ...

    @property
    def note(self) -> str:
        """The same for the model to read."""
        ...


@dataclass(frozen=True, slots=True)
class LocalMessage:
    """A message of a conversation held in memory, for unit tests of agents."""

    role: str
    content: str
    forwarded_from: str = ""
    payload: str = ""
    quoted: Mapping[str, Any] | None = None
    context: tuple[tuple[str, str], ...] | None = None
    tool_calls: tuple[tuple[str, str, str], ...] = ()
    tool_call_id: str = ""
    name: str = ""
    status: str = ""
    note_kind: NoteKind = ""
    note: str = ""
    files: tuple[MessageFile, ...] = ()
