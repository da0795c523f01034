"""What a channel can do, as data: what every layer above the adapters decides by."""

from dataclasses import dataclass
from typing import Literal

from roost_channels.message import MediaKind

Markup = Literal["entities", "marks", "plain"]


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
    markup: Markup
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
