"""Methods for files: getFile, a send method for each kind, and albums."""

import itertools
from typing import Any

from roost_channels.testing.telegram.errors import BotApiError, bad_request
from roost_channels.testing.telegram.methods.messages import MessageContent, deliver, deliver_album
from roost_channels.testing.telegram.parameters import Parameters, from_mapping
from roost_channels.testing.telegram.state.core import METHODS, Method, TelegramCore, method
from roost_channels.testing.telegram.state.media import (
    DOWNLOAD_BYTES_MAX,
    KINDS,
    LINK_LIFETIME_S,
    media_fields,
    store,
)
from roost_channels.testing.telegram.state.records import File
from roost_channels.testing.telegram.text.formatted import (
    CAPTION_CODEPOINTS_MAX,
    Formatted,
    normalize,
    read_formatted,
)

ALBUM_MAX = 10
_albums = itertools.count(13_000_000_000_000_000)


@method("getFile")
async def get_file(core: TelegramCore, parameters: Parameters) -> dict[str, Any]:
    """The File object with a path that works for an hour."""
    file_id = parameters.text("file_id")
    if not file_id:
        raise bad_request("file_id not specified")
    file = core.world.files.get(file_id)
    if file is None:
        raise bad_request("invalid file_id")
    if file.size > DOWNLOAD_BYTES_MAX:
        raise bad_request("file is too big")
    if file.gone:
        raise bad_request("wrong file_id or the file is temporarily unavailable")
    file.path = f"{file.folder}/{file.file_id}/{file.name}"
    file.path_until = core.now() + LINK_LIFETIME_S
    return {
        "file_id": file.file_id,
        "file_unique_id": file.unique_id,
        "file_size": file.size,
        "file_path": file.path,
    }


def read_file(core: TelegramCore, parameters: Parameters, name: str, kind: str) -> File:
    """The file of a send method: uploaded, or known by its id."""
    upload = parameters.upload(name)
    reference = parameters.text(name)
    if upload is not None:
        if len(upload.data) > KINDS[kind].bytes_max:
            raise BotApiError(413, "Request Entity Too Large")
        if not upload.data:
            raise bad_request("file must be non-empty")
        return store(core.world, kind, upload.data, upload.name, upload.content_type)
    if not reference or reference.startswith("attach://"):
        raise bad_request(f"there is no {kind.replace('_', ' ')} in the request")
    if reference.startswith(("http://", "https://")):
        # The fake fetches nothing from the internet.
        raise bad_request("Failed to get HTTP URL content")
    file = core.world.files.get(reference)
    if file is None:
        raise bad_request("wrong file identifier/HTTP URL specified")
    return file


def read_caption(parameters: Parameters) -> Formatted:
    """The caption with its entities, which may be empty."""
    raw = parameters.text("caption")
    entities = parameters.json("caption_entities", "Can't parse entities JSON object")
    formatted = read_formatted(raw, parameters.text("parse_mode"), entities)
    if not raw.strip():
        return Formatted("")
    formatted = normalize(formatted)
    if len(formatted.text) > CAPTION_CODEPOINTS_MAX:
        raise bad_request("message caption is too long")
    return formatted


def read_content(
    core: TelegramCore, parameters: Parameters, name: str, kind: str
) -> MessageContent:
    """The file and caption of a send method. name: the parameter that has the file."""
    file = read_file(core, parameters, name, kind)
    about = {edge: parameters.integer(edge) for edge in ("duration", "width", "height")}
    caption = Formatted("") if kind == "video_note" else read_caption(parameters)
    return MessageContent(caption, media_fields(core.world, kind, file, about))


def _sender(kind: str) -> Method:
    async def send(core: TelegramCore, parameters: Parameters) -> dict[str, Any]:
        return deliver(core, parameters, read_content(core, parameters, kind, kind))

    return send


for _kind in KINDS:
    METHODS[f"send{_kind.replace('_', '')}"] = _sender(_kind)


def read_input_media(
    core: TelegramCore, media: Any, parameters: Parameters
) -> tuple[str, MessageContent]:
    """The kind and content of one InputMedia object."""
    if not isinstance(media, dict):
        raise bad_request("Can't parse InputMedia: expected an Object")
    kind = media.get("type")
    if not isinstance(kind, str) or kind not in KINDS:
        raise bad_request("Can't parse InputMedia: invalid media type specified")
    if not isinstance(media.get("media"), str):
        raise bad_request("Can't parse InputMedia: media not found")
    fields = from_mapping(media)
    fields.files = parameters.files
    return kind, read_content(core, fields, "media", kind)


@method("sendMediaGroup")
async def send_media_group(core: TelegramCore, parameters: Parameters) -> list[dict[str, Any]]:
    """Send up to ten media as an album."""
    media = parameters.json("media", "Can't parse media JSON object")
    if not isinstance(media, list):
        raise bad_request("Expected an Array of InputMedia")
    if not media:
        raise bad_request("There are no messages to send")
    if len(media) > ALBUM_MAX:
        raise bad_request("Too many messages to send as an album")
    contents = [read_input_media(core, one, parameters) for one in media]
    albums = {KINDS[kind].album for kind, _ in contents}
    for kind, _ in contents:
        if not KINDS[kind].album:
            raise bad_request(f"{kind.capitalize()} can't be sent in an album")
        if len(albums) > 1 and KINDS[kind].album != "visual":
            raise bad_request(f"{kind.capitalize()} can't be mixed with other media types")
    group = str(next(_albums)) if len(contents) > 1 else ""
    return deliver_album(core, parameters, [content for _, content in contents], group)
