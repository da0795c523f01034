"""The verbs of a chat network: send, edit, indicate, ingest, and those that only some have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from roost_channels.capabilities import Capabilities
from roost_channels.errors import Rejected
from roost_channels.message import Address, Attachment, Button, Receipt, ReplyTarget
from roost_channels.rendering.parts import RenderedPart

DRAFT_S = 30.0
# A part holds the label of a repeat, a quote line and some words of its own.
TEXT_MAX_LEAST = 400


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One physical message on its way to one chat.

    silent: people's devices stay quiet. part_id: travels as a correlation key where the provider
        echoes one; it is the same in every attempt.
    asks: the person is to answer in words, so the app may open a reply to it.
    """

    address: Address
    part: RenderedPart
    reply_to: ReplyTarget | None = None
    buttons: Sequence[Button] = ()
    silent: bool = False
    part_id: str = ""
    asks: bool = False


class Channel(Protocol):
    """One account of one chat network; every failure is a `DeliveryError`."""

    name: str
    account: str
    capabilities: Capabilities

    async def send(self, message: Outgoing) -> Receipt:
        """Send one part."""
        ...

    async def edit(self, message_id: str, message: Outgoing) -> None:
        """Replace our own message's text and buttons; raises NotModified, EditTargetMissing."""
        ...

    async def delete(self, address: Address, message_id: str) -> None:
        """Remove our own message; gone already is success."""
        ...

    async def indicate(self, address: Address, *, inbound_message_id: str = "") -> None:
        """Show that we are working (typing), for `capabilities.typing_s` seconds."""
        ...

    async def find_sent(
        self, message: Outgoing, *, since: float
    ) -> Receipt | Literal["absent", "unknown"]:
        """Settle an ambiguous send: a receipt proves it went out, `absent` proves it did not."""
        ...

    async def download(self, attachment: Attachment, bytes_max: int) -> bytes:
        """The bytes of a file that came in; raises Rejected for one that is larger or gone."""
        ...

    async def acknowledge(self, callback_id: str, text: str = "") -> None:
        """Answer a pressed button; late is success."""
        ...

    async def ingest(self, intake: Any) -> None:
        """Poll for events for ever, committing each before acknowledging it; returns at once if
        webhooks feed us.
        """
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


@runtime_checkable
class Drafting(Protocol):
    """A channel that can show a message while it is written, where `can_draft` says so.

    Drafts and typing indications are one budget. A draft goes by itself when a message is sent, or
    after `DRAFT_S`.
    """

    def can_draft(self, address: Address) -> bool:
        """Return whether this chat can show drafts."""
        ...

    async def draft(self, address: Address, number: int, part: RenderedPart) -> None:
        """Show this content as the draft of this number, which is not 0."""
        ...


@runtime_checkable
class Probing(Protocol):
    """A channel where a status message whose send had an unknown outcome can be looked for."""

    async def remove_lost_status(
        self, address: Address, *, after: str, before: str, known: Sequence[str]
    ) -> bool:
        """Delete our message with buttons between two messages that is none of `known`; True when
        it was found. Other messages stay as they are.
        """
        ...


@runtime_checkable
class Ordering(Protocol):
    """A channel whose provider keeps no order: each message waits for the one before it."""

    async def in_order(self, address: Address, part_id: str = "") -> None:
        """Wait until a message to this chat may go, which may take seconds. Raises what
        `Channel.send` raises where nothing was sent.
        """
        ...


@runtime_checkable
class Reacting(Protocol):
    """A channel that can put a mark under a message."""

    async def react(self, address: Address, message_id: str) -> None:
        """Put `capabilities.reaction` under a person's message; a repeat changes nothing."""
        ...


@runtime_checkable
class Grouping(Protocol):
    """A channel that shows several files as one album."""

    async def send_album(self, messages: Sequence[Outgoing]) -> Sequence[Receipt]:
        """Send parts that have files to one chat; one receipt for each, in their order. The first
        one's reply target is the album's. A refusal is one of the whole.
        """
        ...


@runtime_checkable
class Inviting(Protocol):
    """A channel that can reach people outside the session window, by an approved template."""

    async def invite(self, address: Address, *, part_id: str) -> Receipt:
        """Send `capabilities.invitation`; `part_id` travels as that of an Outgoing."""
        ...


async def invite(channel: Channel, address: Address, part_id: str) -> Receipt:
    """Send the account's template; raises Rejected if it has none any more."""
    if not isinstance(channel, Inviting):
        raise Rejected("this account has no template any more", code="template")
    return await channel.invite(address, part_id=part_id)


def check_agreement(channel: Channel) -> None:
    """Raise TypeError where an account's capabilities promise what its class has no method for.

    Called for every account that is opened: the layers above ask the capabilities, the verbs must
    be there.
    """
    can = channel.capabilities
    promises: tuple[tuple[bool, type, str], ...] = (
        (bool(can.reaction), Reacting, "reaction"),
        (bool(can.albums), Grouping, "albums"),
        (bool(can.invitation), Inviting, "invitation"),
    )
    for is_promised, protocol, field in promises:
        if is_promised and not isinstance(channel, protocol):
            raise TypeError(
                f"{type(channel).__name__} has the capability `{field}`"
                f" but is not {protocol.__name__}"
            )
    problem = _contradiction(can)
    if problem:
        raise TypeError(f"The capabilities of {type(channel).__name__} contradict: {problem}")


def _contradiction(can: Capabilities) -> str:
    """What can't be true together, the empty string where all is well."""
    if can.text_max < TEXT_MAX_LEAST:
        return f"text_max is less than {TEXT_MAX_LEAST}, which labels and quote lines need"
    if can.albums and (can.album_max < 2 or not can.media_bytes_max):
        return "albums hold two files or more, so album_max and media_bytes_max are needed"
    if can.photo_bytes_max > can.media_bytes_max:
        return "photo_bytes_max is more than media_bytes_max"
    if can.can_edit and min(can.edit_interval_s) <= 0:
        return "edits need an interval"
    return ""
