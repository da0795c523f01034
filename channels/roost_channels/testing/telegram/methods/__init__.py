"""The Bot API methods the fake knows; importing this package registers them."""

from roost_channels.testing.telegram.methods import (
    bot,
    drafts,
    edits,
    files,
    members,
    messages,
    rich_messages,
    signals,
    topics,
    updates,
)
from roost_channels.testing.telegram.methods.updates import Described
from roost_channels.testing.telegram.state.core import METHODS

__all__ = [
    "ALL_METHODS",
    "Described",
    "bot",
    "drafts",
    "edits",
    "files",
    "members",
    "rich_messages",
    "messages",
    "signals",
    "topics",
    "updates",
]

ALL_METHODS = METHODS
