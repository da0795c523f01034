"""The answer that is a person's data: a ZIP file, made on disk and removed once it is sent."""

import os
import tempfile
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from roost_platform.db.stores import Stores
from roost_platform.privacy.export import export_person


async def person_file(stores: Stores, identity_id: str, by: str, ip: str) -> FileResponse:
    """Export a person, audited by id; raises NotFound."""
    handle, name = tempfile.mkstemp(prefix="roost-person-", suffix=".zip")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            owner = await export_person(stores, identity_id, file)
        detail = {"conversations": len(owner.conversations), "bytes": path.stat().st_size}
        await stores.audit.write(by, "person.export", identity_id, detail, ip)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return FileResponse(
        path,
        media_type="application/zip",
        filename=f"person-{identity_id}.zip",
        headers={"cache-control": "no-store"},
        background=BackgroundTask(path.unlink, missing_ok=True),
    )
