"""What a WhatsApp fake keeps over a restart: people, messages, files and templates."""

from dataclasses import dataclass, field
from typing import Any, Generic

from roost_channels.testing.kept import KEPT_MESSAGES_MAX, KEPT_VERSION, newest_files
from roost_channels.testing.whatsapp.state import MediaT, MessageT, WhatsAppCore, WhatsAppUser

# Statuses that nothing follows.
_LAST = ("delivered", "read", "failed", "undelivered", "canceled", "received")


@dataclass(frozen=True, slots=True)
class KeptWhatsApp(Generic[MessageT, MediaT]):
    """The state of one account. contents: Twilio's Content resources, which are used for ever."""

    version: int
    users: tuple[WhatsAppUser, ...]
    messages: tuple[MessageT, ...]
    media: tuple[MediaT, ...]
    contents: dict[str, dict[str, Any]] = field(default_factory=dict)


def keep(
    core: WhatsAppCore[Any, MessageT, MediaT], contents: dict[str, dict[str, Any]]
) -> KeptWhatsApp[MessageT, MediaT]:
    """The newest of the state, within the bounds."""
    of_user: dict[str, list[MessageT]] = {}
    for message in core.messages.values():
        of_user.setdefault(message.user, []).append(message)
    newest = {m.id for one in of_user.values() for m in one[-KEPT_MESSAGES_MAX:]}
    return KeptWhatsApp(
        KEPT_VERSION,
        tuple(core.users.values()),
        tuple(message for message in core.messages.values() if message.id in newest),
        tuple(newest_files(core.media.values())),
        contents,
    )


def unfinished(messages: tuple[MessageT, ...]) -> list[MessageT]:
    """Outbound messages that had not reached their last status: they go on after the start."""
    return [m for m in messages if not m.inbound and m.status not in _LAST]
