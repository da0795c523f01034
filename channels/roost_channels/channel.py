"""A chat network behind four verbs: send, edit, indicate, ingest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from roost_channels.message import Address, Attachment, Button, MediaKind, Receipt, ReplyTarget
from roost_channels.rendering.parts import RenderedPart

DRAFT_S = 30.0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a channel can do, so that nothing above the adapter asks which channel it is.

    text_max: the longest part, in `text_unit`s.
    typing_s: how long one indication lasts, 0 where there is none.
    edit_interval_s: the least time between edits of one message (private, group).
    send_interval_s: the least time between sends to one chat.
    session_window_s: how long after an inbound message free text is allowed, None for ever.
    send_burst: sends to one chat that the network lets follow at once; None for the setting's.
    button_text_max: the longest text that may carry buttons, None for `text_max`.
    invitation: what the approved template says that asks people to open a closed session window;
        empty where none is set. A channel with one is `Inviting`.
    media_bytes_max: the largest file that can be sent, 0 where none can be; photo_bytes_max: the
        largest that is sent as a photo.
    rich: answers may be sent as Markdown that the channel lays out itself.
    reaction: what the account puts under a message to say that it was seen; empty for nothing. A
        channel with one is `Reacting`.
    albums: kinds of files that may be shown together, at most `album_max` of them, the first with a
        caption of at most `caption_max` units. A channel with some is `Grouping`.
    """

    text_max: int
    text_unit: Literal["utf16", "codepoint"]
    markup: Literal["entities", "whatsapp", "plain"]
    can_edit: bool
    can_delete: bool
    native_quote: bool
    buttons: bool
    typing_s: float
    edit_interval_s: tuple[float, float]
    send_interval_s: float
    session_window_s: float | None = None
    send_burst: int | None = None
    button_text_max: int | None = None
    invitation: str = ""
    media_bytes_max: int = 0
    photo_bytes_max: int = 0
    rich: bool = False
    reaction: str = ""
    albums: tuple[frozenset[MediaKind], ...] = ()
    album_max: int = 0
    caption_max: int = 0


class Channel(Protocol):
    """One account of one chat network; every failure is a `DeliveryError`."""

    name: str
    account: str
    capabilities: Capabilities

    async def send(
        self,
        address: Address,
        part: RenderedPart,
        *,
        reply_to: ReplyTarget | None = None,
        buttons: Sequence[Button] = (),
        silent: bool = False,
        part_id: str = "",
    ) -> Receipt:
        """Send one part. `part_id` travels as a correlation key where the provider echoes one."""
        ...

    async def edit(
        self,
        address: Address,
        message_id: str,
        part: RenderedPart,
        *,
        buttons: Sequence[Button] = (),
    ) -> None:
        """Replace the text of our own message; raises NotModified, EditTargetMissing."""
        ...

    async def delete(self, address: Address, message_id: str) -> None:
        """Remove our own message; gone already is success."""
        ...

    async def indicate(self, address: Address, *, inbound_message_id: str = "") -> None:
        """Show that we are working (typing), for `capabilities.typing_s` seconds."""
        ...

    async def find_sent(
        self, address: Address, part: RenderedPart, *, since: float, part_id: str
    ) -> Receipt | Literal["absent", "unknown"]:
        """Reconcile an ambiguous send: a receipt proves it went out, `absent` proves it did not."""
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

    def can_draft(self, address: Address) -> bool: ...

    async def draft(self, address: Address, number: int, part: RenderedPart) -> None:
        """Show the draft of this number (not 0) as it reads now."""
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
        """Wait until a message to this chat may go; seconds, maybe, in which anything may happen.
        Raises what `Channel.send` does where nothing was sent.
        """
        ...


@runtime_checkable
class Reacting(Protocol):
    """A channel that can put a mark under a message."""

    async def react(self, address: Address, message_id: str) -> None:
        """Put `capabilities.reaction` under a person's message; once more changes nothing."""
        ...


@runtime_checkable
class Grouping(Protocol):
    """A channel that shows several files as one album."""

    async def send_album(
        self,
        address: Address,
        parts: Sequence[RenderedPart],
        *,
        reply_to: ReplyTarget | None = None,
        silent: bool = False,
    ) -> Sequence[Receipt]:
        """Send parts that have files, as `Channel.send`; one receipt for each, in their order. A
        refusal is one of the whole.
        """
        ...


@runtime_checkable
class Inviting(Protocol):
    """A channel that can reach people outside the session window, by an approved template."""

    async def invite(self, address: Address, *, part_id: str) -> Receipt:
        """Send `capabilities.invitation`; `part_id` travels as with `Channel.send`."""
        ...
