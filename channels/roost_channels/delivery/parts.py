"""Cuts a logical message into physical parts: its text, then its files, as albums if possible."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from roost_channels.capabilities import Capabilities
from roost_channels.channel import Channel
from roost_channels.message import Media
from roost_channels.outbox import UNFINISHED, OutboxEntry, StoredPart
from roost_channels.rendering.parts import REPEAT_LABEL, RenderedPart, render, utf16_length
from roost_channels.rendering.quote_line import QUOTE_PREFIX_MAX, needs_quote_line

CHOOSE = "Please choose:"
# Characters of a text that is planned at once; a longer one is planned in a thread.
PLANNED_AT_ONCE_MAX = 2_000


async def planned(entry: OutboxEntry, channel: Channel) -> list[RenderedPart]:
    """`plan`, off the event loop where it takes longer than the way to a thread.

    A thread can't be stopped and shares the interpreter, so the time it takes is bounded by the
    rendering itself; here other chats only go on meanwhile.
    """
    if len(entry.text) <= PLANNED_AT_ONCE_MAX:
        return plan(entry, channel)
    return await asyncio.to_thread(plan, entry, channel)


def plan(entry: OutboxEntry, channel: Channel) -> list[RenderedPart]:
    """The physical parts of an entry for a channel. Never none, so that every entry ends."""
    reply, capabilities = entry.reply_to, channel.capabilities
    quoted = reply is not None and not capabilities.native_quote and needs_quote_line(reply)
    texts = render(entry.text, capabilities, reserve=QUOTE_PREFIX_MAX if quoted else 0)
    if capabilities.rich and entry.kind == "answer" and len(texts) == 1:
        # Only a text of one part: its plain form, sent after a refusal, is one part, too.
        texts = [replace(texts[0], rich=entry.text)]
    end = texts[-1].char_end if texts else 0
    files = _albums([_file_part(media, capabilities, end) for media in entry.media], capabilities)
    parts = _captioned(texts, files, capabilities)
    if entry.buttons and _takes_no_buttons(parts, capabilities):
        parts.append(RenderedPart(CHOOSE, (), end, end))
    return parts or [RenderedPart("(no text)", (), 0, 0)]


def album_of(parts: Sequence[StoredPart], first: StoredPart) -> Sequence[StoredPart]:
    """The parts that go in one album with `first`: itself, and later unsent parts with its mark."""
    mark = first.rendered.album
    later = [part for part in parts if part.index > first.index and part.rendered.album == mark]
    return [first, *(part for part in later if mark and part.state in UNFINISHED)]


def without_file(part: RenderedPart) -> RenderedPart:
    """The part as text with the name of its file, which the network refuses in every form."""
    if part.media is None:
        return part
    name = part.media.name or part.media.kind
    words = "\n".join(filter(None, (part.text, f"[file: {name}, could not be sent]")))
    return replace(part, text=words, media=None, album="")


def _file_part(media: Media, capabilities: Capabilities, at: int) -> RenderedPart:
    """The part that carries a file, or names the file where the channel can't carry it."""
    if media.size > capabilities.media_bytes_max:
        name = media.name or media.kind
        if not capabilities.media_bytes_max:
            return RenderedPart(f"[file: {name}]", (), at, at)
        return RenderedPart(f"[file: {name}, too large to be sent here]", (), at, at)
    if media.kind == "photo" and media.size > capabilities.photo_bytes_max:
        media = replace(media, kind="document")
    return RenderedPart("", (), at, at, media)


def _albums(files: Sequence[RenderedPart], capabilities: Capabilities) -> list[RenderedPart]:
    """Give successive files that may be shown together one mark.

    An album is one request, so its files together have at most the size of one file.
    """
    runs: list[list[RenderedPart]] = []
    for part in files:
        if runs and _fits(runs[-1], part, capabilities):
            runs[-1].append(part)
        else:
            runs.append([part])
    return [
        replace(part, album=str(number)) if len(run) > 1 else part
        for number, run in enumerate(runs, 1)
        for part in run
    ]


def _fits(run: Sequence[RenderedPart], part: RenderedPart, capabilities: Capabilities) -> bool:
    files = [one.media for one in (*run, part)]
    if len(files) > capabilities.album_max:
        return False
    kinds = {media.kind if media else "" for media in files}
    weight = sum(media.size for media in files if media)
    together = any(kinds <= mixture for mixture in capabilities.albums)
    return together and weight <= capabilities.media_bytes_max


def _captioned(
    texts: list[RenderedPart], files: list[RenderedPart], capabilities: Capabilities
) -> list[RenderedPart]:
    """A short text is the caption of an album's first file, as people would send it."""
    if len(texts) != 1 or not files or not files[0].album or texts[0].rich:
        return texts + files
    text = texts[0]
    if utf16_length(REPEAT_LABEL + text.text) > capabilities.caption_max:
        return texts + files
    return [replace(text, media=files[0].media, album=files[0].album), *files[1:]]


def _takes_no_buttons(parts: Sequence[RenderedPart], capabilities: Capabilities) -> bool:
    """Whether the last part can't carry buttons: albums, and on some networks files, long texts."""
    if not parts:
        return False
    most = capabilities.button_text_max
    if most is None:
        return bool(parts[-1].album)
    return parts[-1].media is not None or utf16_length(parts[-1].text) > most
