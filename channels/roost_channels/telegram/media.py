"""Sends files to Telegram, alone or as an album."""

from collections.abc import Mapping, Sequence
from typing import Any

from roost_channels.errors import Ambiguous, Rejected
from roost_channels.files import ChannelFiles
from roost_channels.message import Media, MediaKind
from roost_channels.rendering.parts import RenderedPart
from roost_channels.telegram import format as telegram_format
from roost_channels.telegram.bot_api import methods, types
from roost_channels.telegram.client import TelegramClient
from roost_channels.telegram.session import Upload

UPLOAD_TIMEOUT_S = 300
ALBUM_MAX = 10
CAPTION_MAX = 1024
# What may stand in one album: https://core.telegram.org/bots/api#sendmediagroup
ALBUMS: tuple[frozenset[MediaKind], ...] = (
    frozenset(("photo", "video")),
    frozenset(("document",)),
    frozenset(("audio",)),
)
_SENDS: Mapping[MediaKind, type[methods.TelegramMethod[types.Message]]] = {
    "photo": methods.SendPhoto,
    "document": methods.SendDocument,
    "voice": methods.SendVoice,
    "audio": methods.SendAudio,
    "video": methods.SendVideo,
}
_ALBUM_ITEMS: Mapping[MediaKind, type[types.InputMedia]] = {
    "photo": types.InputMediaPhoto,
    "document": types.InputMediaDocument,
    "audio": types.InputMediaAudio,
    "video": types.InputMediaVideo,
}


class MediaSender:
    """Uploads what `files` holds."""

    def __init__(self, client: TelegramClient, files: ChannelFiles | None) -> None:
        self._client = client
        self._files = files

    async def send(
        self, part: RenderedPart, media: Media, shared: Mapping[str, Any]
    ) -> types.Message:
        """Send one file by the method of its kind; returns the message that was made."""
        fields = {**shared, **_caption(part), media.kind: await self._upload(media)}
        return await self._client.call(_SENDS[media.kind](**fields), timeout_s=UPLOAD_TIMEOUT_S)

    async def send_album(
        self, parts: Sequence[RenderedPart], shared: Mapping[str, Any]
    ) -> list[types.Message]:
        """2 to `ALBUM_MAX` files at once; the messages that were made, in order."""
        items = [await self._item(part) for part in parts]
        album = methods.SendMediaGroup(**shared, media=items)
        sent = await self._client.call(album, timeout_s=UPLOAD_TIMEOUT_S)
        if not isinstance(sent, list) or len(sent) != len(parts):
            raise Ambiguous("accepted, but not as one message for each file", code="decode")
        return sent

    async def _item(self, part: RenderedPart) -> Any:
        kind = _ALBUM_ITEMS.get(part.media.kind) if part.media else None
        if part.media is None or kind is None:
            raise Rejected("an album takes only files", code="media")
        return kind(media=await self._upload(part.media), **_caption(part))

    async def _upload(self, media: Media) -> Upload:
        if self._files is None:
            raise Rejected("no store of files is connected", code="media")
        data = await self._files.read(media.artifact_id)
        return Upload(data, media.name or media.kind, media.mime_type)


def _caption(part: RenderedPart) -> dict[str, Any]:
    return {
        "caption": part.text or None,
        "caption_entities": telegram_format.entities(part) if part.text else None,
    }
