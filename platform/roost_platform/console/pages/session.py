"""One conversation: transcript, tool cards, waterfalls, all live; stop it, answer in it."""

from dataclasses import dataclass
from typing import Annotated

from starlette.responses import Response

from roost_platform.console.actions import reply_as_operator, stop_session
from roost_platform.console.console import Visit, text_field
from roost_platform.console.errors import NotFound
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.queries.conversation import ConversationView, Running, conversation
from roost_platform.console.queries.spans import TurnView
from roost_platform.console.queries.transcript import Bubble


@dataclass(frozen=True, slots=True)
class Head:
    """The line above the transcript."""

    view_id: str
    channel: str
    title: str
    agent: str
    phase: str
    started_at: float | None
    stop_requested: bool


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said; changes when something is committed."""

    bubbles: tuple[Bubble, ...]
    earlier: int


@dataclass(frozen=True, slots=True)
class Now:
    """The end of the transcript: the partial answer and what waits behind it."""

    running: Running | None
    waiting: tuple[Bubble, ...]


@dataclass(frozen=True, slots=True)
class Facts:
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
    created_at: float


@dataclass(frozen=True, slots=True)
class SessionContext:
    """The session page; also what the test chat shows."""

    id: Annotated[str, "Conversation id"]
    number: Annotated[int | None, "Session asked for, None for the current one"]
    is_current: Annotated[bool, "Whether people are in this session now"]
    head: Annotated[Head, "Who, on which channel, in which state"]
    transcript: Annotated[Transcript, "What was said"]
    now: Annotated[Now, "What is being written"]
    facts: Annotated[Facts, "Counts and ids"]
    turns: Annotated[tuple[TurnView, ...], "Turns with their waterfalls, newest first"]


def context_of(view: ConversationView, number: int | None) -> SessionContext:
    run = view.running
    return SessionContext(
        id=view.id,
        number=number,
        is_current=view.is_current,
        head=Head(
            view_id=view.id,
            channel=view.channel,
            title=view.title,
            agent=view.agent,
            phase=run.phase if run else ("waiting" if view.waiting else "idle"),
            started_at=run.started_at if run else None,
            stop_requested=run.stop_requested if run else False,
        ),
        transcript=Transcript(view.bubbles, view.earlier),
        now=Now(run, view.waiting),
        facts=Facts(
            key=view.key,
            access=view.access,
            session_number=view.session_number,
            session_count=view.session_count,
            view_id=view.id,
            prompt_tokens=view.prompt_tokens,
            cached_tokens=view.cached_tokens,
            completion_tokens=view.completion_tokens,
            turn_count=view.turn_count,
            created_at=view.created_at,
        ),
        turns=view.turns,
    )


def fragments(data: SessionContext) -> tuple[Fragment, ...]:
    """What lives on the page; the transcript itself is only sent again when it grew."""
    return (
        Fragment("session-head", "fragments/session_head.html", data.head),
        Fragment("transcript", "fragments/transcript.html", data.transcript),
        Fragment("now", "fragments/now.html", data.now),
        Fragment("facts", "fragments/facts.html", data.facts),
        Fragment("turns", "fragments/turns.html", data.turns),
    )


def asked_number(visit: Visit) -> int | None:
    text = visit.query("number")
    return int(text) if text.isdecimal() and len(text) < 9 else None


async def find(visit: Visit, id: str) -> SessionContext | None:
    number = asked_number(visit)
    async with visit.deps.stores.database.read() as session:
        view = await conversation(session, id, number, with_texts=visit.reads_texts)
    return context_of(view, number) if view else None


async def load(visit: Visit) -> SessionContext:
    data = await find(visit, visit.param("id"))
    if data is None:
        raise NotFound("There is no such session.")
    return data


async def page(visit: Visit) -> Response:
    data = await load(visit)
    if visit.reads_texts:
        await visit.audit("transcript.read", data.facts.key)
    return visit.page("session.html", data)


async def json_twin(visit: Visit) -> Response:
    data = await load(visit)
    if visit.reads_texts:
        await visit.audit("transcript.read", data.facts.key, {"as": "json"})
    return visit.json(data)


async def events(visit: Visit) -> Response:
    await load(visit)

    async def live() -> LivePage | None:
        data = await find(visit, visit.param("id"))
        return LivePage(fragments(data)) if data else None

    return visit.stream(live)


async def stop(visit: Visit) -> Response:
    data = await load(visit)
    return visit.done(await stop_session(visit.deps, data.id, visit.me, visit.ip))


async def reply(visit: Visit) -> Response:
    data = await load(visit)
    text = text_field(await visit.form(), "text")
    await reply_as_operator(visit.deps, data.id, text, visit.me, visit.ip)
    return visit.done("Your answer is on its way.")
