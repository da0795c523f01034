"""Why an event does not wait for the agent: a code to decide by, and words for operators."""

from collections.abc import Mapping
from typing import Final, Literal

ReasonCode = Literal[
    "",  # it waits for a turn, or has had one
    "unreadable",  # the words are the adapter's problem with it
    "other_kind",  # the words are the kind
    "not_addressed",
    "in_album",
    "edit_of_unknown",
    "edit_of_other",
    "edit_overtaken",
    "edit_unchanged",
    "edit_replaced",
    "edit_unseen",
    "edit_told",
    "revoked",
    "revoked_unknown",
    "revoked_unseen",
    "revoked_told",
    "chat_moved",
    "let_in",
    "shut_out",
    "blocked",
    "not_listed",
    "not_paired_in_group",
    "too_many_held",
    "awaits_approval",
    "awaits_code",
    "command_of_stranger",
    "unknown_command",
    "awaits_zone",  # of /remind
    "no_answer",
    "not_admitted",
    "unknown_button",
    "turn_over",
    "stopped",
    "deleted",
]

# Its writer may not talk here: nothing of it reaches the agent, and its files are not fetched.
REFUSED: Final[frozenset[ReasonCode]] = frozenset(
    {"blocked", "not_listed", "not_paired_in_group", "not_admitted", "command_of_stranger"}
)

WORDS: Final[Mapping[ReasonCode, str]] = {
    "": "",
    "not_addressed": "not addressed to the agent",
    "in_album": "part of an album",
    "edit_of_unknown": "an edit of a message we never saw",
    "edit_of_other": "an edit of somebody else's message",
    "edit_overtaken": "older than the edit that came before it",
    "edit_unchanged": "the words did not change",
    "edit_unseen": "an edit of a message that the agent does not see any more",
    "edit_told": "told to the agent",
    "revoked": "its writer deleted it",
    "revoked_unknown": "a deletion of a message we never saw",
    "revoked_unseen": "a deletion of a message that the agent does not see",
    "revoked_told": "told to the agent",
    "let_in": "we may write here",
    "shut_out": "we may not write here any more",
    "blocked": "blocked",
    "not_listed": "not on the allowlist",
    "not_paired_in_group": "not admitted; pairing happens in a private chat",
    "too_many_held": "too many messages while waiting for approval",
    "awaits_approval": "waiting for approval",
    "awaits_code": "waiting for a free pairing code",
    "command_of_stranger": "a command of a stranger",
    "unknown_command": "a command that nobody knows",
    "awaits_zone": "waiting for the person to name their time zone",
    "no_answer": "no answer to what is asked; the person was told",
    "not_admitted": "not admitted",
    "unknown_button": "unknown button",
    "turn_over": "that turn is over",
    "stopped": "stopped",
    "deleted": "its writer was deleted",
}
