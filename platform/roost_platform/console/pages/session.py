"""One conversation: transcript, tool calls, waterfalls and files; stop it, answer in it."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from starlette.responses import Response

from roost_platform.console.actions import (
    reply_as_operator,
    retry_in_session,
    set_progress,
    set_queue,
    stop_session,
)
from roost_platform.console.console import Visit, text_field
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.page import ConsoleRoute, Page, ReadAs
from roost_platform.errors import NotFound
from roost_platform.identity.roles import Role
from roost_platform.views.files import FileView, files_of
from roost_platform.views.session.conversation import conversation
from roost_platform.views.session.redaction import without_errors
from roost_platform.views.session.spans import TurnView
from roost_platform.views.session.transcript import Bubble
from roost_platform.views.session.view import ConversationView, RunningTurn
from roost_platform.views.waiting.waits import WaitView
from roost_platform.views.workflows.children import ChildView


@dataclass(frozen=True, slots=True)
class HeadSection:
    """The line above the transcript."""

    view_id: str
    channel: str
    account: str
    title: str
    agent: str
    phase: str
    waits_for: str
    root_id: str | None
    started_at: float | None
    stop_requested: bool


@dataclass(frozen=True, slots=True)
class TranscriptSection:
    """The messages; they change when something is committed.

    older, newer: links to the messages around these, empty where there are none.
    """

    bubbles: tuple[Bubble, ...]
    earlier: int
    older: str = ""
    newer: str = ""


@dataclass(frozen=True, slots=True)
class NowSection:
    """The end of the transcript: the partial answer and what waits behind it."""

    running: RunningTurn | None
    waiting: tuple[Bubble, ...]
    waiting_count: int = 0


@dataclass(frozen=True, slots=True)
class FactsSection:
    """The box beside the transcript."""

    key: str
    access: str
    session_number: int
    session_count: int
    view_id: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    turn_count: int
    all_turns: int
    created_at: float
    queue: str
    progress: str
    queue_default: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class FilesSection:
    """What people sent and agents made in this conversation, newest first."""

    view_id: str
    files: tuple[FileView, ...]


@dataclass(frozen=True, slots=True)
class WorkSection:
    """What the turn waits for, and the agents that work for the conversation."""

    view_id: str
    waits: tuple[WaitView, ...]
    children: tuple[ChildView, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a wait nor an agent."""
        return not (self.waits or self.children)

    @property
    def has_working(self) -> bool:
        """Whether an agent is at work."""
        return any(child.is_working for child in self.children)


@dataclass(frozen=True, slots=True)
class SessionContext:
    """The session page; also what the test chat shows."""

    id: Annotated[str, "Conversation id"]
    number: Annotated[int | None, "Session asked for, None for the current one"]
    query: Annotated[str, "The query string, for the stream and the JSON"]
    is_current: Annotated[bool, "Whether people are in this session now"]
    head: Annotated[HeadSection, "Who, on which channel, in which state"]
    transcript: Annotated[TranscriptSection, "What was said"]
    now: Annotated[NowSection, "What is being written"]
    work: Annotated[WorkSection, "Waits, and agents that work for it"]
    facts: Annotated[FactsSection, "Counts and ids"]
    turns: Annotated[tuple[TurnView, ...], "Turns with their waterfalls, newest first"]
    files: Annotated[FilesSection, "Files of the conversation"]


def context_of(
    view: ConversationView,
    number: int | None,
    before: int | None,
    default: str,
    files: tuple[FileView, ...] = (),
) -> SessionContext:
    """The page's data from the view of a conversation."""
    return SessionContext(
        id=view.id,
        number=number,
        query=query_of(number, before),
        is_current=view.is_current,
        head=HeadSection(
            view_id=view.id,
            channel=view.channel,
            account=view.account,
            title=view.title,
            agent=view.agent,
            phase=view.state.word,
            waits_for=view.state.waits_for,
            root_id=view.root_id,
            started_at=view.state.since,
            stop_requested=view.state.stop_requested,
        ),
        transcript=TranscriptSection(
            view.bubbles,
            view.earlier,
            older=_link(view.id, number, view.first) if view.earlier else "",
            newer=_link(view.id, number, None) if before is not None else "",
        ),
        now=NowSection(view.running, view.waiting, view.waiting_count),
        work=WorkSection(view.id, view.running.waits if view.running else (), view.children),
        facts=FactsSection(
            key=view.key,
            access=view.access,
            session_number=view.session_number,
            session_count=view.session_count,
            view_id=view.id,
            prompt_tokens=view.prompt_tokens,
            cached_tokens=view.cached_tokens,
            completion_tokens=view.completion_tokens,
            turn_count=view.turn_count,
            all_turns=view.all_turns,
            created_at=view.created_at,
            queue=view.queue,
            progress=view.progress,
            queue_default=default,
            is_current=view.is_current,
        ),
        turns=view.turns,
        files=FilesSection(view.id, files),
    )


def query_of(number: int | None, before: int | None) -> str:
    """The query string that leads to this session and these messages."""
    pairs = (("number", number), ("before", before))
    return urlencode([(name, value) for name, value in pairs if value is not None])


def _link(id: str, number: int | None, before: int | None) -> str:
    query = query_of(number, before)
    return f"/sessions/{id}?{query}" if query else f"/sessions/{id}"


def fragments(data: SessionContext) -> tuple[Fragment, ...]:
    """What lives on the page; the transcript itself is only sent again when it grew."""
    return (
        Fragment("session-head", "session/head.html", data.head),
        Fragment("transcript", "session/transcript.html", data.transcript),
        Fragment("now", "session/now.html", data.now),
        Fragment("work", "session/work.html", data.work),
        Fragment("facts", "session/facts.html", data.facts),
        Fragment("turns", "session/turns.html", data.turns),
        Fragment("files", "session/files.html", data.files),
    )


def asked_number(visit: Visit, name: str) -> int | None:
    """A number in the query string; None if it is missing or not one."""
    text = visit.query(name)
    return int(text) if text.isdecimal() and len(text) < 9 else None


async def find(visit: Visit, id: str) -> SessionContext | None:
    """The page's data for a conversation; None if there is none."""
    number, before = asked_number(visit, "number"), asked_number(visit, "before")
    stores = visit.deps.stores
    async with stores.database.read() as session:
        view = await conversation(session, id, number, before=before, with_texts=visit.reads_texts)
        if view is None:
            return None
        files = await files_of(session, id, with_texts=visit.reads_texts)
    if visit.me.role < Role.operator:
        view = without_errors(view)
    return context_of(
        view, number, before, stores.queueing.default_of(view.channel, view.agent), files
    )


async def load(visit: Visit) -> SessionContext:
    """The session of the path; raises NotFound."""
    data = await find(visit, visit.param("id"))
    if data is None:
        raise NotFound("There is no such session.")
    return data


async def on_read(visit: Visit, data: SessionContext, read_as: ReadAs) -> None:
    """Record that somebody read the texts, and as what."""
    if visit.reads_texts:
        detail = {"as": "json"} if read_as == "json" else None
        await visit.audit("transcript.read", data.facts.key, detail)


async def stop(visit: Visit) -> Response:
    """Stop what runs."""
    data = await load(visit)
    return visit.done(await stop_session(visit.deps, data.id, visit.me, visit.ip))


async def retry(visit: Visit) -> Response:
    """Have the failed turn tried again behind its last step."""
    turn_id = text_field(await visit.form(), "turn", length_max=64)
    await retry_in_session(visit.deps, turn_id, visit.me, visit.ip)
    return visit.done("It is tried again. What it has done is not done again.")


async def queue(visit: Visit) -> Response:
    """Choose how messages that come in a row are queued."""
    data = await load(visit)
    word = text_field(await visit.form(), "mode", length_max=32)
    return visit.done(await set_queue(visit.deps, data.id, word, visit.me, visit.ip))


async def progress(visit: Visit) -> Response:
    """Choose what people see of work in progress."""
    data = await load(visit)
    word = text_field(await visit.form(), "mode", length_max=32)
    return visit.done(await set_progress(visit.deps, data.id, word, visit.me, visit.ip))


async def reply(visit: Visit) -> Response:
    """Answer in the agent's place."""
    data = await load(visit)
    text = text_field(await visit.form(), "text")
    await reply_as_operator(visit.deps, data.id, text, visit.me, visit.ip)
    return visit.done("Your answer is on its way.")


PAGE = Page(
    path="/sessions/{id}",
    template="session/page.html",
    load=load,
    live=lambda data: LivePage(fragments(data)),
    has_json=True,
    on_read=on_read,
)
ACTIONS = (
    ConsoleRoute("POST", "/sessions/{id}/stop", Role.operator, stop, PAGE),
    ConsoleRoute("POST", "/sessions/{id}/retry", Role.operator, retry, PAGE),
    ConsoleRoute("POST", "/sessions/{id}/queue", Role.operator, queue, PAGE),
    ConsoleRoute("POST", "/sessions/{id}/progress", Role.operator, progress, PAGE),
    ConsoleRoute("POST", "/sessions/{id}/reply", Role.operator, reply, PAGE),
)
