"""Downloads of a conversation's files: always as attachments, never shown in this origin."""

import asyncio

from starlette.responses import FileResponse, Response

from roost_channels.file_response import OCTETS, SANDBOXED, safe_name
from roost_platform.console.console import Visit
from roost_platform.console.page import ConsoleRoute
from roost_platform.errors import Forbidden, NotFound, Refused
from roost_platform.identity.roles import Role
from roost_platform.views.files import FileView, file_of

# The largest file of any channel. Files are streamed, so this bounds time, not memory.
DOWNLOAD_BYTES_MAX = 100 * 1024 * 1024


async def download(visit: Visit) -> Response:
    """Hand a file over as an attachment and record who took it."""
    id, stores = visit.param("id"), visit.deps.stores
    async with stores.database.read() as session:
        file = await file_of(session, id, visit.param("file"))
    if file is None:
        raise NotFound("This session has no such file.")
    if not visit.reads_texts:
        raise Forbidden("Only people who may read texts may have files.")
    if file.state != "stored":
        raise NotFound(f"The file is not here: {file.reason or file.state}.")
    path = stores.artifacts.path(file.id)
    try:
        size = (await asyncio.to_thread(path.stat)).st_size
    except FileNotFoundError:
        raise NotFound("The file is no longer in the data folder.") from None
    if size > DOWNLOAD_BYTES_MAX:
        raise Refused(f"The file has {size} bytes; fetch it from the data folder: {path.name}.")
    await visit.audit("artifact.read", file.id, {"conversation": id, "bytes": size})
    return FileResponse(path, media_type=OCTETS, filename=file_name(file), headers=SANDBOXED)


def file_name(file: FileView) -> str:
    """A name without folders or control characters; `kind-id` where people gave none."""
    return safe_name(file.name) or f"{file.kind}-{file.id}"


ACTIONS = (ConsoleRoute("GET", "/sessions/{id}/files/{file}", Role.viewer, download),)
