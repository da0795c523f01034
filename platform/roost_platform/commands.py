"""What people can say to the platform itself: commands, the Stop button, and abort phrases."""

import re
from dataclasses import dataclass
from typing import Literal

CommandName = Literal["new", "stop", "status", "help", "start"]

COMMANDS: tuple[CommandName, ...] = ("new", "stop", "status", "help", "start")
# Whole messages only, lower-cased, without punctuation. No "wait": people say it and go on.
ABORT_PHRASES: tuple[str, ...] = ("stop", "abort", "cancel", "halt", "please stop", "stop please")
STOP_BUTTON = "stop:"

HELP = (
    "Write to me in your own words. Reply to a message to talk about that message.\n\n"
    "/new starts a new conversation\n"
    "/stop stops what I am doing\n"
    "/status tells what I am doing\n"
    "/help shows this"
)
WELCOME = f"Hello! {HELP}"
NEW_SESSION = "New conversation. I no longer see what was said before."
NOTHING_RUNNING = "Nothing is running."

_COMMAND = re.compile(r"/([a-z]+)(?:@\w+)?", re.IGNORECASE)
_MENTION = re.compile(r"^@\w+[\s,:]+")
_PUNCTUATION = " \t\r\n.!?,;:…'\"()*_~-"


@dataclass(frozen=True, slots=True)
class Command:
    """A message meant for the platform. turn_id: the turn a Stop button belongs to, empty for any.

    is_phrase: said in plain words; it counts only while there is something to stop.
    """

    name: CommandName
    turn_id: str = ""
    is_phrase: bool = False


def parse(
    text: str, kind: str = "message", phrases: tuple[str, ...] = ABORT_PHRASES
) -> Command | None:
    """The command that a whole message is, or None for a message to the agent."""
    if kind == "stop":
        return Command("stop")
    if kind == "callback":
        is_stop = text.startswith(STOP_BUTTON)
        return Command("stop", turn_id=text.removeprefix(STOP_BUTTON)) if is_stop else None
    if kind != "message":
        return None
    said = _MENTION.sub("", text.strip())
    found = _COMMAND.fullmatch(said)
    if found is not None:
        name = found.group(1).lower()
        return next((Command(known) for known in COMMANDS if known == name), None)
    if " ".join(said.lower().strip(_PUNCTUATION).split()) in phrases:
        return Command("stop", is_phrase=True)
    return None


def dropped_line(count: int) -> str:
    """How many waiting messages a stop dropped, for people; empty for none."""
    if not count:
        return ""
    return f"{count} waiting message{'' if count == 1 else 's'} dropped."
