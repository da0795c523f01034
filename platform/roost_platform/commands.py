"""Commands that people send to the platform itself: slash commands, Stop buttons, abort phrases."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args
from unicodedata import category

from roost.agent import QueueMode
from roost_channels.kinds import ChatCommand
from roost_channels.message import STOP_BUTTON
from roost_platform.queueing import MEANINGS

CommandName = Literal[
    "new",
    "stop",
    "status",
    "tasks",
    "approve",
    "deny",
    "queue",
    "progress",
    "remind",
    "schedules",
    "link",
    "help",
    "start",
]

COMMANDS: tuple[CommandName, ...] = get_args(CommandName)
# What follows these is text of the person, of any length.
WITH_TEXT: tuple[CommandName, ...] = ("approve", "deny", "remind", "schedules")
WITH_ARGUMENT: tuple[CommandName, ...] = ("queue", "progress", "link")
# Only whole messages count, lower-cased and without punctuation. "wait" is not among them: people
# write it and go on.
ABORT_PHRASES: tuple[str, ...] = ("stop", "abort", "cancel", "halt", "please stop", "stop please")

# (command, in the menu of a channel that has one, in the help text)
_DESCRIBED: tuple[tuple[CommandName, str, str], ...] = (
    ("new", "Start a new conversation", "starts a new conversation"),
    ("stop", "Stop what is running", "stops what I am doing"),
    ("status", "What is going on", "tells what I am doing"),
    ("tasks", "Which agents work for me", "lists the agents that work on something for you"),
    ("approve", "Say yes to what I ask", "says yes to what I ask"),
    ("deny", "Say no to what I ask", "says no to what I ask; a reason may follow"),
    (
        "queue",
        "What happens to messages you send while I work",
        "chooses what happens to messages you send while I work",
    ),
    ("progress", "What you see while I work", "chooses what you see while I work"),
    ("remind", "Remind me of something", "reminds you, such as /remind tomorrow 9:00 call Ana"),
    ("schedules", "What I will do at its time", "shows your reminders and schedules"),
    ("link", "Let me know you in another app", "lets me know you in another app as well"),
    ("help", "What I can do", "shows this"),
)
MENU = tuple(ChatCommand(name, text) for name, text, _ in _DESCRIBED)
HELP = "\n".join(
    (
        "Write to me in your own words. Reply to a message to talk about that message.\n",
        *(f"/{name} {text}" for name, _, text in _DESCRIBED),
    )
)
WELCOME = f"Hello! {HELP}"
NEW_SESSION = "New conversation. I no longer see what was said before."
SCHEDULES_STAY = "Your schedules stay: /schedules shows and deletes them."
NOTHING_RUNNING = "Nothing is running."
NOT_BEGUN = "Stopped before I began."
QUEUE_DEFAULT = "default"
PROGRESS_DEFAULT = "default"
PROGRESS_MEANINGS: Mapping[str, str] = {
    "off": "you see that I type, nothing else",
    "status": "a message tells what I am doing, with a button to stop me",
    "stream": "you see the answer while I write it, where this app can show that",
}

COMMAND_MAX = 200  # characters of a command and the bot's name behind it

# Each run is taken whole (`++`): people's text of any length is scanned once.
_COMMAND = re.compile(r"/([a-z]++)(?:@\w++)?(?:\s++([a-z0-9-]++))?", re.IGNORECASE)
_WITH_TEXT = re.compile(
    rf"/({'|'.join(WITH_TEXT)})(?:@\w++)?(?:\s++(.*))?", re.IGNORECASE | re.DOTALL
)
# Networks allow 32 characters in a command.
_UNKNOWN = re.compile(r"/([a-z][a-z0-9_]{0,31})(@\w++)?(?:[ \t]++\S++)?", re.IGNORECASE | re.ASCII)
_MENTION = re.compile(r"^@\w++[\s,:]++")
# Keyboards put these behind a command by themselves: a full stop after two blanks, for one.
_ENDS = " \t\r\n.!?,;:…。！？，；：、"  # noqa: RUF001
_SLASHES = "/／\\"  # noqa: RUF001
# Wide keyboards write wide letters, too: the characters of ASCII a second time.
_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}


@dataclass(frozen=True, slots=True)
class Command:
    """A message meant for the platform.

    turn_id: the turn that a Stop button belongs to, empty for any; nonce: the secret beside it.
    is_phrase: plain words such as "stop"; they count only while there is something to stop.
    argument: the word after the command, lower-cased, where the command takes one; of those
        WITH_TEXT all that follows, as it was written.
    """

    name: CommandName
    turn_id: str = ""
    nonce: str = ""
    is_phrase: bool = False
    argument: str = ""


def parse(
    text: str, kind: str = "message", phrases: tuple[str, ...] = ABORT_PHRASES
) -> Command | None:
    """The command that a whole message is; None for a message to the agent."""
    if kind == "stop":
        return Command("stop")
    if kind == "callback":
        turn_id, _, nonce = text.removeprefix(STOP_BUTTON).partition(":")
        is_stop = text.startswith(STOP_BUTTON) and turn_id
        return Command("stop", turn_id=turn_id, nonce=nonce) if is_stop else None
    if kind != "message":
        return None
    message = _MENTION.sub("", _shown(text))
    with_text = _WITH_TEXT.fullmatch(message)
    if with_text is not None:
        word = with_text.group(1).lower()
        free = next(known for known in WITH_TEXT if known == word)
        return Command(free, argument=(with_text.group(2) or "").strip())
    match = _COMMAND.fullmatch(message.rstrip(_ENDS).translate(_NARROW))
    if match is not None:
        name, argument = match.group(1).lower(), (match.group(2) or "").lower()
        command = next((known for known in COMMANDS if known == name), None)
        if command is None or (argument and command not in WITH_ARGUMENT):
            return None
        return Command(command, argument=argument)
    words = " ".join(_words(message).lower().split())
    if words in phrases or words.translate(_NARROW) in phrases:
        return Command("stop", is_phrase=True)
    return None


def _shown(text: str) -> str:
    """The text without blanks and what nobody sees at its ends, such as marks of direction; a
    command of a wide keyboard begins with a slash and letters of ours.
    """
    shown = _cut(text, lambda char: char.isspace() or category(char) in ("Cf", "Cc"))
    if shown[:1] not in ("/", _SLASHES[1]):
        return shown
    command = shown[:COMMAND_MAX].split(maxsplit=1)[0]
    return command.translate(_NARROW) + shown[len(command) :]


def _words(text: str) -> str:
    """The words without punctuation, symbols and emoji around them; a slash is no punctuation."""
    return _cut(text, lambda char: not (char.isalnum() or char in _SLASHES))


def _cut(text: str, goes: Callable[[str], bool]) -> str:
    """The text without the characters at its ends that go."""
    start, end = 0, len(text)
    while start < end and goes(text[start]):
        start += 1
    while end > start and goes(text[end - 1]):
        end -= 1
    return text[start:end]


def unknown(text: str, *, is_group: bool) -> str:
    """The name of a command that nobody knows, empty for a message to the agent.

    A command has the form of the known ones: one line, a slash, a word of letters, digits and
    underscores, and at most one word more. So a path (`/etc/hosts`, `/srv/my files`) is for the
    agent, and so is a sentence that begins with a slash. In a group a command has to name the bot,
    as other bots have commands, too.
    """
    message = _shown(text).rstrip(_ENDS)
    own_words = _MENTION.sub("", message)
    match = _UNKNOWN.fullmatch(own_words)
    if match is None or match.group(1).lower() in COMMANDS:
        return ""
    is_named = own_words != message or bool(match.group(2))
    return match.group(1).lower() if is_named or not is_group else ""


def unknown_answer(name: str) -> str:
    """The answer to a command that nobody knows."""
    return f"I know no command /{name}. /help shows those that I know."


def dropped_line(count: int) -> str:
    """A sentence on how many waiting messages a stop dropped; empty for none."""
    if not count:
        return ""
    return f"{count} waiting message{'' if count == 1 else 's'} dropped."


def agents_line(count: int) -> str:
    """A sentence on how many agents a stop ended that worked on their own; empty for none."""
    return f"Stopped {count} agent{'' if count == 1 else 's'}." if count else ""


def undelivered_line(sent: int, parts: int, unplanned: int) -> str:
    """A sentence on how much of the answers was delivered before a stop.

    sent: parts that were sent, of `parts` in all. unplanned: further answers that had not begun.
    """
    whole = "the answer was" if unplanned == 1 else f"{unplanned} answers were"
    if not parts or (parts == 1 and not sent and not unplanned):
        return f"{whole if unplanned else 'the answer was'} not sent."
    line = f"{sent} of {parts} parts {'was' if sent == 1 else 'were'} sent."
    if not unplanned:
        return line
    more = "One more answer was" if unplanned == 1 else f"{unplanned} more answers were"
    return f"{line} {more} not sent."


def stop_answer(dropped: int, *, was_running: bool) -> str:
    """The answer to a stop; empty where the turn's own final message is answer enough."""
    if was_running:
        return dropped_line(dropped)
    return f"{NOT_BEGUN} {dropped_line(dropped)}" if dropped else NOTHING_RUNNING


def other_agent(gone: str, now: str) -> str:
    """The answer to /new where the conversation's agent is not installed any more."""
    return f"{gone} is not here any more: you talk to {now} now."


def queue_lines(mode: QueueMode, default: QueueMode) -> str:
    """The queue modes for people to choose from, with the current one marked."""
    lines = [
        f"/queue {one}{' (now)' if one == mode else ''}: {meaning}"
        for one, meaning in MEANINGS.items()
    ]
    return "\n".join([*lines, f"/queue {QUEUE_DEFAULT}: as usual here, which is {default}"])


def progress_lines(mode: str, usual: str) -> str:
    """The progress modes for people to choose from, with the current one marked.

    mode: what the conversation chose, empty for nothing; usual: what is in force then.
    """
    lines = [
        f"/progress {one}{' (now)' if one == mode else ''}: {meaning}"
        for one, meaning in PROGRESS_MEANINGS.items()
    ]
    now = "" if mode else " (now)"
    return "\n".join(
        [*lines, f"/progress {PROGRESS_DEFAULT}{now}: as usual here, which is {usual}"]
    )


def progress_set(mode: str, usual: str) -> str:
    """The answer to a chosen progress mode; an empty mode is the usual one."""
    if mode:
        return f"Progress {mode}: {PROGRESS_MEANINGS[mode]}."
    return f"Progress is shown as usual here, which is {usual}: {PROGRESS_MEANINGS[usual]}."


def queue_set(mode: QueueMode) -> str:
    """The answer to a chosen queue mode."""
    return f"Queue mode {mode}: {MEANINGS[mode]}."
