"""What happened in a run, in one form for the simulation and for real processes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from roost_platform.chaos.waits.facts import Waits
from roost_platform.db.enqueue import CUT_NOTICE

# Every message has a word of its own. Its answer repeats it; long answers add numbers to it.
WORD = re.compile(r"\bw\d+(?:\.\d+)?\b")
# A stop can cut the word that is being written, and so can the bound of a message: `w4.357` ends as
# `w4.3`.
CUT_WORD = re.compile(rf"\S+(?=\s+(?:Stopped after |{re.escape(CUT_NOTICE.strip())}))")


@dataclass(frozen=True, slots=True)
class AcceptedMessage:
    """A message that was accepted.

    fill: how many numbered words its answer adds. place: its order of acceptance in the chat.
    excused: a stop came after it, so its answer may be partial or missing. cut: the words of its
        answer that were beyond the bound of a message, where the answer says so.
    """

    chat: str
    word: str
    place: int
    fill: int = 0
    excused: bool = False
    cut: frozenset[str] = frozenset()

    @property
    def answer_words(self) -> list[str]:
        """Its word and all numbered words of its answer."""
        return [self.word, *(f"{self.word}.{number}" for number in range(1, self.fill + 1))]


@dataclass(frozen=True, slots=True)
class Shown:
    """A message of ours that is on the screen at the end; `place` is its order there."""

    chat: str
    message_id: str
    place: int
    text: str
    is_status: bool = False


@dataclass(frozen=True, slots=True)
class Removed:
    """A message of ours that was deleted, with its last text."""

    chat: str
    message_id: str
    text: str


@dataclass(frozen=True, slots=True)
class StatusEdit:
    """A status message was shown or changed; `at`: when the provider accepted the call."""

    chat: str
    turn_id: str
    at: float


@dataclass(frozen=True, slots=True)
class Final:
    """The moment when a turn's last message reached the provider; its status may then only go."""

    chat: str
    turn_id: str
    at: float


@dataclass(slots=True)
class Record:
    """Everything that the invariants look at.

    accepted: messages in the inbox.
    sent: messages that the provider promised to deliver; each must be among `accepted`.
    early: calls to a chat that were made during a wait the provider had asked for.
    stuck: what was unfinished when nothing more was to be expected, in words.
    unknowable: status messages and cards whose sends had an outcome that nobody learned; they may
        stay.
    taken: words of messages that were answers to a question, or were answered at once.
    waits: what became of everything that waited.
    """

    accepted: list[AcceptedMessage] = field(default_factory=list)
    sent: list[AcceptedMessage] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    removed: list[Removed] = field(default_factory=list)
    status_edits: list[StatusEdit] = field(default_factory=list)
    finals: list[Final] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    unknowable: set[tuple[str, str]] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    waits: Waits = field(default_factory=Waits)
    transcripts: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


def words(text: str) -> list[str]:
    """The words of a text in order, each once, without those in quoted lines and without the one
    that a stop may have cut."""
    own = "\n".join(line for line in text.splitlines() if not line.startswith(">"))
    return list(dict.fromkeys(WORD.findall(CUT_WORD.sub("", own))))
