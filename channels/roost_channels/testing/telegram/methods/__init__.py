"""The Bot API methods that FakeTelegram knows; importing this package registers them."""

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
from roost_channels.testing.telegram.methods.updates import DescribedResult
from roost_channels.testing.telegram.state.core import METHODS

__all__ = [
    "ALL_METHODS",
    "DescribedResult",
    "bot",
    "drafts",
    "edits",
    "files",
    "members",
    "messages",
    "rich_messages",
    "signals",
    "topics",
    "updates",
]

ALL_METHODS = METHODS
