"""The Bot API methods the fake knows; importing this package registers them."""

from roost_channels.testing.telegram.methods import (
    about,
    drafts,
    editing,
    files,
    members,
    rich,
    sending,
    signalling,
    topics,
    updating,
)
from roost_channels.testing.telegram.methods.updating import Described
from roost_channels.testing.telegram.state.core import METHODS

__all__ = [
    "ALL_METHODS",
    "Described",
    "about",
    "drafts",
    "editing",
    "files",
    "members",
    "rich",
    "sending",
    "signalling",
    "topics",
    "updating",
]

ALL_METHODS = METHODS
