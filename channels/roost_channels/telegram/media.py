"""Sends files to Telegram, alone or as an album."""

from collections.abc import Mapping, Sequence
from typing import Any

from roost_channels.errors import Ambiguous, Rejected
from roost_channels.files import Files
from roost_channels.message import Media, MediaKind
from roost_channels.rendering.parts import RenderedPart
from roost_channels.telegram import format as telegram_format
from roost_channels.telegram.client import TelegramClient, Upload

OCTETS = "application/octet-stream"
UPLOAD_TIMEOUT_S = 300
ALBUM_MAX = 10
CAPTION_MAX = 1024
# What may stand in one album: https://core.telegram.org/bots/api#sendmediagroup
ALBUMS: tuple[frozenset[MediaKind], ...] = (
    frozenset(("photo", "video")),
    frozenset(("document",)),
    frozenset(("audio",)),
)


class MediaSender:
    """Uploads what `files` holds."""

    def __init__(self, client: TelegramClient, files: Files | None) -> None:
        self._client = client
        self._files = files

    async def send(self, part: RenderedPart, media: Media, shared: Mapping[str, Any]) -> Any:
        """One file, by the method of its kind; the message that was made."""
        name = f"{media.kind}_file"
        given = {**shared, **_caption(part), media.kind: f"attach://{name}"}
        return await self._client.call(
            f"send{media.kind.capitalize()}",
            given,
            uploads={name: await self._upload(media)},
            timeout_s=UPLOAD_TIMEOUT_S,
        )

    async def send_album(self, parts: Sequence[RenderedPart], shared: Mapping[str, Any]) -> Any:
        """2 to `ALBUM_MAX` files at once; the messages that were made, in order."""
        uploads, items = {}, []
        for index, part in enumerate(parts):
            if part.media is None:
                raise Rejected("an album holds files alone", code="media")
            name = f"file{index}"
            uploads[name] = await self._upload(part.media)
            items.append(
                {"type": part.media.kind, "media": f"attach://{name}"}
                | {key: value for key, value in _caption(part).items() if value is not None}
            )
        sent = await self._client.call(
            "sendMediaGroup",
            {**shared, "media": items},
            uploads=uploads,
            timeout_s=UPLOAD_TIMEOUT_S,
        )
        if not isinstance(sent, list) or len(sent) != len(parts):
            raise Ambiguous("accepted, but not as one message for each file", code="decode")
        return sent

    async def _upload(self, media: Media) -> Upload:
        if self._files is None:
            raise Rejected("no store of files is connected", code="media")
        data = await self._files.read(media.artifact_id)
        return Upload(media.name or media.kind, media.mime_type or OCTETS, data)


def _caption(part: RenderedPart) -> dict[str, Any]:
    return {
        "caption": part.text or None,
        "caption_entities": telegram_format.entities(part) if part.text else None,
    }
