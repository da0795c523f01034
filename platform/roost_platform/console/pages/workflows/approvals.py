"""Approvals: what waits for a yes or no, what became of others, and standing approvals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, cast, get_args

from starlette.responses import Response

from roost.waits import QUESTIONS_MAX
from roost_platform.console.console import Visit, text_field
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import ConsoleRoute, Page, ReadAs
from roost_platform.db.cards.buttons import in_days
from roost_platform.db.waits.deciding import ANSWER_MAX, REASON_MAX
from roost_platform.db.waits.for_operators import waiting_count
from roost_platform.db.waits.store import OperatorVerdict
from roost_platform.errors import NotAllowed, Refused
from roost_platform.identity.roles import Role
from roost_platform.views.approvals import (
    ApprovalView,
    GrantView,
    grants,
    history,
    open_for_operators,
)
from roost_platform.views.pagination import PAGE_SIZE, Pages, page_number
from roost_platform.views.workflows.decisions import (
    STATES,
    Comparison,
    compared,
    full_id,
    open_count,
    question,
    without_words,
)

VIA: Final = "console"
QUEUE_SHOWN_MAX: Final = 50
ENDED: Final = STATES[1:]
VERDICTS: Final = get_args(OperatorVerdict)


@dataclass(frozen=True, slots=True)
class QueueSection:
    """What is open. count: how many there are, of which `rows` are the first.

    standing: how long a standing approval holds, in words.
    """

    rows: tuple[ApprovalView, ...]
    count: int
    waiting: int
    standing: str


@dataclass(frozen=True, slots=True)
class HistorySection:
    """The table of what is over."""

    rows: Annotated[tuple[ApprovalView, ...], "This page's questions"]
    pages: Annotated[Pages, "Where we are in the history"]


@dataclass(frozen=True, slots=True)
class ApprovalsContext:
    """The Approvals page."""

    queue: Annotated[QueueSection, "What is open, for operators first"]
    state: Annotated[str, "State the history is narrowed to, empty for all"]
    text: Annotated[str, "Part of a tool's or an agent's name"]
    history: Annotated[HistorySection, "What became of others"]
    grants: Annotated[tuple[GrantView, ...], "Standing approvals, the newest first"]
    query: Annotated[str, "The query string, for the stream"]


@dataclass(frozen=True, slots=True)
class ApprovalSection:
    """One question, and the arguments beside those of the last call that was decided.

    standing: how long a standing approval holds, in words.
    """

    approval: ApprovalView
    compared: Comparison
    standing: str


@dataclass(frozen=True, slots=True)
class ApprovalContext:
    """One question's page."""

    section: Annotated[ApprovalSection, "The question with its arguments"]


async def load(visit: Visit) -> ApprovalsContext:
    """The queue, one page of the history narrowed by the query string, and what stands."""
    state = visit.query("state") if visit.query("state") in ENDED else ""
    text, number = visit.query("q").strip(), page_number(visit.query("page"))
    async with visit.deps.stores.database.read() as session:
        queue = await open_for_operators(session, limit=QUEUE_SHOWN_MAX)
        count = await open_count(session)
        waiting = await waiting_count(session)
        over, total = await history(
            session, text=text, state=state, limit=PAGE_SIZE, offset=(number - 1) * PAGE_SIZE
        )
        standing = await grants(session, visit.now) if visit.me.may("operator") else ()
    pages = Pages(number, total, "/approvals", (("state", state), ("q", text)))
    return ApprovalsContext(
        queue=QueueSection(shown(visit, queue), count, waiting, how_long(visit)),
        state=state,
        text=text,
        history=HistorySection(shown(visit, over), pages),
        grants=tuple(standing),
        query=visit.request.url.query,
    )


def how_long(visit: Visit) -> str:
    """How long a standing approval holds."""
    return in_days(visit.deps.stores.waits.rules.grant_s)


def shown(visit: Visit, views: Sequence[ApprovalView]) -> tuple[ApprovalView, ...]:
    """The questions as this person may see them."""
    return tuple(view if visit.reads_texts else without_words(view) for view in views)


def live(data: ApprovalsContext) -> LivePage:
    """The queue, the history and the standing approvals."""
    return LivePage(
        (
            Fragment("approval-queue", "approvals/queue.html", data.queue),
            Fragment("approval-history", "approvals/history.html", data.history),
            Fragment("grants", "approvals/grants.html", data.grants),
        )
    )


async def load_one(visit: Visit) -> ApprovalContext:
    """The question of the path; raises NotFound."""
    async with visit.deps.stores.database.read() as session:
        id = await full_id(session, visit.param("id"))
        view = await question(session, id, with_texts=visit.reads_texts)
        beside = await compared(session, view) if visit.reads_texts else Comparison(())
    return ApprovalContext(ApprovalSection(view, beside, how_long(visit)))


def live_one(data: ApprovalContext) -> LivePage:
    """The question."""
    return LivePage((Fragment("approval", "approvals/detail.html", data.section),))


async def on_read(visit: Visit, data: ApprovalContext, read_as: ReadAs) -> None:
    """Record that somebody read the arguments, and as what."""
    if visit.reads_texts:
        detail = {"as": "json"} if read_as == "json" else None
        await visit.audit("approval.read", data.section.approval.id, detail)


async def decide(visit: Visit) -> Response:
    """Approve, approve from now on, or deny."""
    form = await visit.form()
    verdict = text_field(form, "verdict", length_max=16)
    reason = text_field(form, "reason", required=False, length_max=REASON_MAX).strip()
    if verdict not in VERDICTS:
        raise Refused("Choose Approve or Deny.")
    try:
        decision = await visit.deps.intake.decide(
            visit.param("id"),
            cast(OperatorVerdict, verdict),
            reason,
            visit.me.name,
            VIA,
            visit.ip,
        )
    except NotAllowed as error:
        raise Refused(str(error)) from None
    if not decision.counted:
        raise Refused(f"This was decided before: {decision.words}.")
    return visit.done("Denied." if verdict == "deny" else "Approved.")


async def answer(visit: Visit) -> Response:
    """Answer what is still open of a question or form, in the person's place."""
    form, answers = await visit.form(), []
    for number in range(QUESTIONS_MAX):
        if f"answer-{number}" in form:
            answers.append(text_field(form, f"answer-{number}", length_max=ANSWER_MAX))
    try:
        decision = await visit.deps.intake.answer(
            visit.param("id"), answers, visit.me.name, VIA, visit.ip
        )
    except NotAllowed as error:
        raise Refused(str(error)) from None
    if not decision.counted:
        raise Refused(f"This was decided before: {decision.words}.")
    return visit.done("Answered.")


async def revoke(visit: Visit) -> Response:
    """End a standing approval."""
    await visit.deps.stores.waits.revoke_grant(visit.param("id"), visit.me.name, visit.ip)
    return visit.done("People are asked again from now on.")


LIST_PAGE = Page(
    path="/approvals",
    template="approvals/page.html",
    load=load,
    live=live,
    has_json=True,
    nav=NavLink("/approvals", "Approvals", "circle-question-mark", count=waiting_count),
)
ONE_PAGE = Page(
    path="/approvals/{id}",
    template="approvals/one.html",
    load=load_one,
    live=live_one,
    has_json=True,
    on_read=on_read,
)
ACTIONS = (
    ConsoleRoute("POST", "/approvals/{id}/decide", Role.operator, decide, ONE_PAGE),
    ConsoleRoute("POST", "/approvals/{id}/answer", Role.operator, answer, ONE_PAGE),
    ConsoleRoute("POST", "/approvals/grants/{id}/revoke", Role.operator, revoke),
)
