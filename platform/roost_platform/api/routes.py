"""The API's routes: say, follow, stop; look at sessions and deliveries; let people in."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from sqlalchemy import or_, select
from sse_starlette import EventSourceResponse, ServerSentEvent

from roost_channels.message import Sender
from roost_platform.api import schemas
from roost_platform.api.auth import operator, principal_of, viewer
from roost_platform.api.feed import Feed
from roost_platform.api.reading import read_deliveries, read_session, read_sessions, status_of
from roost_platform.db import models
from roost_platform.db.stores import Stores
from roost_platform.identity.roles import Principal
from roost_platform.intake import PlatformIntake
from roost_platform.views.deliveries import STATES as DELIVERY_STATES
from roost_platform.views.gateway.watch import GatewayWatch
from roost_platform.views.overview import Overview
from roost_platform.views.states import STATES as SESSION_STATES
from roost_workflows.agents import AgentRegistry

CONSOLE_KEY = "console:local:"
NAME_CHARS_MAX = 200
PEOPLE_MAX = 200
STREAMS_MAX = 200  # open event streams of this process
POSITION_MAX = 2**63 - 1  # what both databases can count to
LAST_EVENT_ID = re.compile("[0-9]{1,18}")
PING_S = 5  # a client with a deadline notices it this late


@dataclass(slots=True)
class Api:
    """What the routes work on. gateway: None where it is off."""

    stores: Stores
    intake: PlatformIntake
    registry: AgentRegistry
    overview: Overview
    closing: asyncio.Event
    gateway: GatewayWatch | None = None
    streams: int = 0


def api_of(request: Request) -> Api:
    """The dependency that gives routes what they work on."""
    api: Api = request.app.state.api
    return api


UsesApi = Annotated[Api, Depends(api_of)]
Viewer = Annotated[Principal, Depends(viewer)]
Operator = Annotated[Principal, Depends(operator)]
Page = Annotated[int, Query(ge=1, le=10_000)]
Position = Annotated[int, Query(ge=-1, le=POSITION_MAX)]

router = APIRouter()


@router.get("/health", tags=["status"], openapi_extra={"security": []})
async def health() -> dict[str, str]:
    """Whether this process answers. Needs no token and says nothing else."""
    return {"status": "ok"}


@router.get("/status", tags=["status"])
async def status(api: UsesApi, me: Viewer) -> schemas.Status:
    """The health of every process and account, and a few counts."""
    return status_of(await api.overview.status(), with_details=me.may("operator"))


@router.get("/agents", tags=["sessions"])
async def agents(api: UsesApi, _: Viewer) -> dict[str, list[str]]:
    """Names of the agents, the default one first."""
    rest = [name for name in api.registry.names if name != api.registry.default]
    return {"agents": [api.registry.default, *rest]}


@router.get("/sessions", tags=["sessions"])
async def sessions(
    api: UsesApi, _: Viewer, page: Page = 1, state: str = "", text: str = ""
) -> schemas.SessionList:
    """Conversations, the most recently active first."""
    _one_of(state, SESSION_STATES)
    async with api.stores.database.read() as session:
        return await read_sessions(session, state, text, page)


@router.post("/sessions/{name:path}/messages", status_code=202, tags=["sessions"])
async def say(
    request: Request, api: UsesApi, me: Operator, name: str, body: schemas.NewMessage
) -> schemas.AcceptedMessage:
    """Send a message to a console session; a new name makes a new session."""
    if body.agent is not None and api.registry.get(body.agent) is None:
        raise HTTPException(422, f"There is no agent {body.agent!r}.")
    name = name.removeprefix(CONSOLE_KEY)
    if not name or len(name) > NAME_CHARS_MAX:
        raise HTTPException(422, f"A session's name has 1 to {NAME_CHARS_MAX} characters.")
    submitted = await api.intake.say(
        name,
        body.text,
        sender=Sender(me.id, me.name),
        agent=body.agent,
        message_id=body.event_id or "",
    )
    if submitted.inbox_id:
        detail = {"inbox_id": submitted.inbox_id, "characters": len(body.text)}
        await _audit(request, api, me, "conversation.say", submitted.conversation_id, detail)
    inbox_id = submitted.inbox_id or await _inbox_id(api, f"{name}:{body.event_id}")
    return schemas.AcceptedMessage(
        inbox_id=inbox_id,
        conversation_id=submitted.conversation_id,
        key=CONSOLE_KEY + name,
        duplicate=not submitted.inbox_id,
    )


@router.get("/sessions/{name:path}/events", tags=["sessions"])
async def events(
    request: Request,
    api: UsesApi,
    me: Operator,
    name: str,
    after: Position = -1,
    inbox: str | None = None,
) -> EventSourceResponse:
    """Server-sent events: delta, tool, answer, notice, error, and with `inbox` at last `done`.

    `after` is the `sequence` of the last message seen; -1 begins with what is still to come.
    """
    if api.streams >= STREAMS_MAX:
        raise HTTPException(503, "Too many event streams are open.", {"Retry-After": "5"})
    last = request.headers.get("last-event-id", "")
    position = int(last) if LAST_EVENT_ID.fullmatch(last) else after
    conversation_id, key = await _conversation(api, name)
    await _audit(request, api, me, "transcript.read", key, {"as": "events"})
    feed = Feed(api.stores.database, conversation_id, position, inbox)

    async def still_allowed() -> bool:
        found = await principal_of(request)
        return found is not None and found.role >= operator.role

    return EventSourceResponse(_stream(api, feed, still_allowed), ping=PING_S)


@router.post("/sessions/{name:path}/stop", tags=["sessions"], response_model_exclude_defaults=True)
async def stop(request: Request, api: UsesApi, me: Operator, name: str) -> schemas.Stopping:
    """Stop what runs in a conversation, as /stop in the chat does."""
    conversation_id, _ = await _conversation(api, name)
    stopped = await api.intake.request_stop(conversation_id, me.name, client_ip(request))
    return schemas.Stopping(
        turn_id=stopped.turn_id,
        dropped=stopped.dropped,
        undelivered=len(stopped.undelivered.ids),
    )


@router.post("/sessions/{name:path}/reply", tags=["sessions"])
async def reply(
    request: Request, api: UsesApi, me: Operator, name: str, body: schemas.NewMessage
) -> dict[str, str]:
    """Answer a person in place of the agent."""
    conversation_id, _ = await _conversation(api, name)
    outbox_id = await api.stores.say_as_operator(
        conversation_id, body.text, me.name, client_ip(request)
    )
    return {"outbox_id": outbox_id}


@router.get("/sessions/{name:path}", tags=["sessions"])
async def session(request: Request, api: UsesApi, me: Operator, name: str) -> schemas.SessionDetail:
    """A conversation with its current session's transcript, by key, id or console name."""
    conversation_id, key = await _conversation(api, name)
    async with api.stores.database.read() as db:
        detail = await read_session(db, conversation_id)
    await _audit(request, api, me, "transcript.read", key)
    return detail


@router.get("/deliveries", tags=["deliveries"])
async def deliveries(
    api: UsesApi, _: Operator, page: Page = 1, state: str = "", text: str = ""
) -> schemas.DeliveryList:
    """Outgoing messages, newest first."""
    _one_of(state, DELIVERY_STATES)
    async with api.stores.database.read() as session:
        return await read_deliveries(session, state, text, page)


@router.post("/deliveries/{id}/redrive", tags=["deliveries"])
async def redrive(request: Request, api: UsesApi, me: Operator, id: str) -> dict[str, str]:
    """Give a failed or uncertain message new attempts; parts that arrived are not sent again."""
    return {"outbox_id": await api.stores.redrive(id, me.name, client_ip(request))}


@router.get("/people", tags=["people"])
async def people(api: UsesApi, _: Operator, access: str | None = None) -> schemas.PersonList:
    """People who wrote, newest first; `access` is pending, allowed or blocked."""
    _one_of(access or "", ("pending", "allowed", "blocked"))
    rows = await api.stores.people.list(access=access, limit=PEOPLE_MAX)
    return schemas.PersonList(
        people=[
            schemas.PersonItem(
                id=person.id,
                display_name=person.name,
                access=person.access,
                code=person.code or "",
                aliases=[f"{channel}:{address}" for channel, address, _ in person.aliases],
                created_at=person.created_at,
            )
            for person in rows
        ]
    )


@router.post("/people/{code_or_id}/approve", tags=["people"])
async def approve(request: Request, api: UsesApi, me: Operator, code_or_id: str) -> dict[str, str]:
    """Let a person in by pairing code or id; the messages they sent meanwhile are answered now."""
    decision = await api.intake.approve(code_or_id, me.name, client_ip(request))
    return {"id": decision.identity_id, "access": "allowed"}


@router.post("/people/{id}/block", tags=["people"])
async def block(request: Request, api: UsesApi, me: Operator, id: str) -> dict[str, str]:
    """Block a person; their waiting messages are ignored."""
    decision = await api.stores.people.block(id, me.name, client_ip(request))
    return {"id": decision.identity_id, "access": "blocked"}


async def _stream(
    api: Api, feed: Feed, still_allowed: Callable[[], Awaitable[bool]]
) -> AsyncIterator[ServerSentEvent]:
    api.streams += 1
    try:
        async for event in feed.events(api.closing, still_allowed):
            data = json.dumps(event.data, ensure_ascii=False)
            id = event.data.get("sequence")
            yield ServerSentEvent(data, event=event.name, id=None if id is None else str(id))
    finally:
        api.streams -= 1


async def _conversation(api: Api, name: str) -> tuple[str, str]:
    """Id and key of the conversation with this key, id or console name; 404 if there is none."""
    query = select(models.Conversation.id, models.Conversation.key).where(
        or_(
            models.Conversation.key == name,
            models.Conversation.id == name,
            models.Conversation.key == CONSOLE_KEY + name,
        )
    )
    async with api.stores.database.read() as session:
        found = (await session.execute(query)).first()
    if found is None:
        raise HTTPException(404, f"There is no session {name!r}.")
    return found.id, found.key


async def _audit(
    request: Request,
    api: Api,
    me: Principal,
    action: str,
    object: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    await api.stores.audit.write(me.name, action, object, detail, client_ip(request))


async def _inbox_id(api: Api, event_id: str) -> str:
    async with api.stores.database.read() as session:
        inbox_id = await session.scalar(
            select(models.Inbox.id).where(
                models.Inbox.channel == "console", models.Inbox.event_id == event_id
            )
        )
    return inbox_id or ""


def _one_of(value: str, known: tuple[str, ...]) -> None:
    if value and value not in known:
        raise HTTPException(422, f"{value!r} is not one of: {', '.join(known)}.")


def client_ip(request: Request) -> str:
    """The address that the request came from; empty if unknown."""
    return request.client.host if request.client else ""
