"""The API routes for finding faults and looking after data: search, bulk stop, people."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import FileResponse

from roost_platform.api import schemas
from roost_platform.api.auth import admin
from roost_platform.api.person_file import person_file
from roost_platform.api.routes import Operator, UsesApi, client_ip
from roost_platform.bulk_stop import stop_running
from roost_platform.identity.roles import Principal
from roost_platform.privacy.deletion import delete_person
from roost_platform.views.faults.search import TEXT_CHARS_MAX, TEXT_CHARS_MIN, search

router = APIRouter()
Admin = Annotated[Principal, Depends(admin)]
SearchText = Annotated[str, Query(min_length=TEXT_CHARS_MIN, max_length=TEXT_CHARS_MAX)]


@router.get("/search", tags=["sessions"])
async def search_messages(
    request: Request,
    api: UsesApi,
    me: Operator,
    q: SearchText,
    before: Annotated[str, Query(max_length=64)] = "",
) -> schemas.SearchList:
    """Messages with every word of `q`, the newest first; `before` is the last answer's `older`."""
    async with api.stores.database.read() as session:
        result = await search(session, q, before)
    if result.found:
        detail = {"characters": len(q), "found": len(result.found), "as": "api"}
        await api.stores.audit.write(me.name, "transcript.search", "", detail, client_ip(request))
    return schemas.SearchList(
        messages=[
            schemas.SearchItem(
                id=one.id,
                key=one.key,
                session_number=one.session_number,
                role=one.role,
                author=one.author,
                at=one.at,
                state=one.waits,
                excerpt=f"{one.before}{one.match}{one.after}",
            )
            for one in result.found
        ],
        older=result.older,
    )


@router.post("/stop", tags=["sessions"])
async def stop_many(
    request: Request, api: UsesApi, me: Operator, body: schemas.StopMany
) -> schemas.StoppedMany:
    """Stop every turn that runs, or those of one agent or channel; `confirm` must be true."""
    done = await stop_running(
        api.stores,
        api.intake,
        me.name,
        client_ip(request),
        agent=body.agent,
        channel=body.channel,
    )
    return schemas.StoppedMany(stopped=done.stopped, left=done.left)


@router.get("/people/{id}/export", tags=["people"], response_class=FileResponse)
async def export(request: Request, api: UsesApi, me: Admin, id: str) -> FileResponse:
    """All that is kept of a person, as a ZIP file."""
    return await person_file(api.stores, id, me.name, client_ip(request))


@router.post("/people/{id}/delete", tags=["people"])
async def delete(
    request: Request, api: UsesApi, me: Admin, id: str, body: schemas.DeletePerson
) -> schemas.DeletedPerson:
    """Delete all that is kept of a person; `confirm` must be true. It can't be undone."""
    done = await delete_person(api.stores, api.intake, id, me.name, client_ip(request))
    return schemas.DeletedPerson(
        id=done.identity_id,
        conversations=done.conversations,
        groups=done.groups,
        messages=done.messages,
        files=done.files,
        written_over=done.written_over,
    )
