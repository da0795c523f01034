"""Files in and out: getFile, sendPhoto, sendDocument."""

import itertools
from typing import Any

from roost_channels.testing.telegram.core import Core, method
from roost_channels.testing.telegram.errors import BotApiError, bad_request
from roost_channels.testing.telegram.methods.sending import deliver
from roost_channels.testing.telegram.parameters import Parameters
from roost_channels.testing.telegram.text import (
    CAPTION_CODEPOINTS_MAX,
    Formatted,
    read_formatted,
    settle,
)
from roost_channels.testing.telegram.world import File

DOWNLOAD_BYTES_MAX = 20 << 20
PHOTO_BYTES_MAX = 10 << 20
DOCUMENT_BYTES_MAX = 50 << 20
LINK_LIFETIME_S = 3600.0
_uploads = itertools.count(1)


@method("getFile")
async def get_file(core: Core, parameters: Parameters) -> dict[str, Any]:
    file_id = parameters.text("file_id")
    if not file_id:
        raise bad_request("file_id not specified")
    file = core.world.files.get(file_id)
    if file is None:
        raise bad_request("invalid file_id")
    if file.size > DOWNLOAD_BYTES_MAX:
        raise bad_request("file is too big")
    file.path = f"documents/{file.file_id}/{file.name}"
    file.path_until = core.now() + LINK_LIFETIME_S
    return {
        "file_id": file.file_id,
        "file_unique_id": file.unique_id,
        "file_size": file.size,
        "file_path": file.path,
    }


def _incoming(core: Core, parameters: Parameters, kind: str, size_max: int) -> File:
    """The file of a send method: uploaded, known by its id, or named by a URL."""
    upload = parameters.upload(kind)
    given = parameters.text(kind)
    if upload is not None:
        if len(upload.data) > size_max:
            raise BotApiError(413, "Request Entity Too Large")
        number = next(_uploads)
        file = File(
            f"SENT{number:08d}",
            f"S{number:08d}",
            upload.name,
            upload.content_type,
            upload.data,
            len(upload.data),
        )
        core.world.files[file.file_id] = file
        return file
    if not given or given.startswith("attach://"):
        raise bad_request(f"there is no {kind} in the request")
    if given.startswith(("http://", "https://")):
        # The fake stands for the internet and fetches nothing from it.
        raise bad_request("Failed to get HTTP URL content")
    known = core.world.files.get(given)
    if known is None:
        raise bad_request("wrong file identifier/HTTP URL specified")
    return known


def _caption(parameters: Parameters) -> Formatted:
    raw = parameters.text("caption")
    entities = parameters.json("caption_entities", "Can't parse entities JSON object")
    formatted = read_formatted(raw, parameters.text("parse_mode"), entities)
    if not raw.strip():
        return Formatted("")
    formatted = settle(formatted)
    if len(formatted.text) > CAPTION_CODEPOINTS_MAX:
        raise bad_request("message caption is too long")
    return formatted


def _ids(file: File) -> dict[str, Any]:
    return {
        "file_id": file.file_id,
        "file_unique_id": file.unique_id,
        "file_size": file.size,
    }


@method("sendPhoto")
async def send_photo(core: Core, parameters: Parameters) -> dict[str, Any]:
    file = _incoming(core, parameters, "photo", PHOTO_BYTES_MAX)
    sizes = [{**_ids(file), "width": 90, "height": 90}]
    return deliver(core, parameters, _caption(parameters), {"photo": sizes})


@method("sendDocument")
async def send_document(core: Core, parameters: Parameters) -> dict[str, Any]:
    file = _incoming(core, parameters, "document", DOCUMENT_BYTES_MAX)
    document = {**_ids(file), "file_name": file.name, "mime_type": file.content_type}
    return deliver(core, parameters, _caption(parameters), {"document": document})
