"""The test chat: talk to an agent as over a channel, in the session `console:local:<name>`."""

import re
from dataclasses import dataclass
from typing import Annotated

from starlette.responses import RedirectResponse, Response

from roost_channels.console.config import ACCOUNT, CHANNEL
from roost_channels.message import Address
from roost_platform.console.actions import say_on_console
from roost_platform.console.console import Visit, text_field
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import ConsoleRoute, Page, ReadAs
from roost_platform.console.pages.session import SessionContext, find, fragments
from roost_platform.errors import Refused
from roost_platform.identity.roles import Role
from roost_platform.views.session.conversation import conversation_id_of_key
from roost_platform.views.sessions import SessionFilter, SessionRow, sessions

NAME = re.compile(r"[\w.@-]{1,64}")
RECENT_SHOWN_MAX = 8


@dataclass(frozen=True, slots=True)
class ChatContext:
    """The test chat; `session` is None until the first message."""

    name: Annotated[str, "The chat's name, the last part of its session key"]
    agents: Annotated[tuple[str, ...], "Agents to choose from for a new chat"]
    recent: Annotated[tuple[SessionRow, ...], "Other console chats, newest first"]
    session: Annotated[SessionContext | None, "The conversation as the session page shows it"]


def address(name: str) -> Address:
    """The address of a test chat."""
    return Address(CHANNEL, ACCOUNT, name)


def checked(name: str) -> str:
    """The name if it can name a chat; raises Refused."""
    if not NAME.fullmatch(name):
        raise Refused("A chat's name has letters, digits and . _ @ - only, at most 64.")
    return name


async def load(visit: Visit) -> ChatContext:
    """The chat of the path, with the names of other chats."""
    return await load_named(visit, checked(visit.param("name")))


async def load_named(visit: Visit, name: str) -> ChatContext:
    """The chat of this name, with the names of other chats."""
    async with visit.deps.stores.database.read() as session:
        id = await conversation_id_of_key(session, address(name).key)
        _, recent = await sessions(
            session, SessionFilter(channel="console"), 1, with_texts=visit.reads_texts
        )
    return ChatContext(
        name=name,
        agents=tuple(visit.deps.agents),
        recent=recent[:RECENT_SHOWN_MAX],
        session=await find(visit, id) if id else None,
    )


async def start(visit: Visit) -> Response:
    """Go to the chat that the form names, else to the visitor's own."""
    own = re.sub(r"[^\w.@-]", "-", visit.me.name) or "me"
    name = visit.query("name").strip() or own[:64]
    try:
        return RedirectResponse(f"/chat/{checked(name)}", status_code=303)
    except Refused as error:
        data = await load_named(visit, own[:64])
        typed = {"name": name}
        return visit.page(PAGE.template, data, status=error.status, problem=str(error), typed=typed)


async def on_read(visit: Visit, data: ChatContext, _read_as: ReadAs) -> None:
    """Record that somebody read the texts of an existing chat."""
    if data.session is not None:
        await visit.audit("transcript.read", address(data.name).key)


async def say(visit: Visit) -> Response:
    """Take in a message as from any channel."""
    name = checked(visit.param("name"))
    form = await visit.form()
    text = text_field(form, "text")
    agent = text_field(form, "agent", required=False, length_max=64)
    if agent and agent not in visit.deps.agents:
        raise Refused(f"There is no agent “{agent}”.")
    await say_on_console(visit.deps, name, text, visit.me, agent, visit.ip)
    return visit.done("") if visit.is_htmx else RedirectResponse(f"/chat/{name}", status_code=303)


def live(data: ChatContext) -> LivePage:
    """The conversation without the boxes beside it; nothing before the first message."""
    if data.session is None:
        return LivePage()
    return LivePage(
        (
            *(f for f in fragments(data.session) if f.target not in ("facts", "files")),
            Fragment("recent", "chat/recent.html", data.recent),
        )
    )


PAGE = Page(
    path="/chat/{name}",
    template="chat/page.html",
    load=load,
    role=Role.operator,
    live=live,
    on_read=on_read,
    nav=NavLink("/chat", "Test chat", "message-square", "Try it", Role.operator),
)
ACTIONS = (
    ConsoleRoute("GET", "/chat", Role.operator, start),
    ConsoleRoute("POST", "/chat/{name}", Role.operator, say, PAGE),
)
