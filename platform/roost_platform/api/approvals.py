"""The API routes for approvals: those that are open, what became of others, and a verdict."""

from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, Field

from roost.waits import QUESTIONS_MAX
from roost_platform.api.routes import Operator, UsesApi, Viewer, client_ip
from roost_platform.api.schemas import NO_NUL, Body
from roost_platform.db.waits.deciding import ANSWER_MAX, REASON_MAX
from roost_platform.identity.roles import Principal
from roost_platform.views.approvals import ApprovalView, history, open_for_operators
from roost_platform.views.pagination import PAGE_SIZE
from roost_platform.views.workflows.decisions import full_id, open_count, question, without_words

router = APIRouter()
State = Literal[  # of one question, or any that is over
    "pending",
    "approved",
    "denied",
    "answered",
    "expired",
    "cancelled",
    "stale",
    "unreachable",
    "decided",
]


class ApprovalItem(BaseModel):
    """One question to a person.

    kind: approve | ask | form. rule: who decides: requester | operator | another. can_decide,
    can_answer: whether an operator can now. options: those of each question. free_text: whether
    other words answer it, too. arguments: what the call would be given, as JSON. For viewers what
    people and agents wrote is left out.
    """

    id: str
    kind: str
    state: str
    agent: str
    tool: str
    preview: str
    arguments: str
    questions: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    free_text: tuple[bool, ...]
    answers: tuple[str, ...]
    rule: str
    can_decide: bool
    can_answer: bool
    session: str
    conversation_id: str
    turn_id: str
    requester: str
    created_at: float
    expires_at: float
    decided_at: float | None
    decided_by: str
    decided_via: str
    reason: str


class ApprovalList(BaseModel):
    """Questions; `total` is how many there are on all pages."""

    total: int
    approvals: list[ApprovalItem]


Answer = Annotated[str, Field(max_length=ANSWER_MAX, pattern=NO_NUL)]


class Verdict(Body):
    """What an operator decides; the agent is told the reason.

    verdict: of an approval, or `answer` for a question or form. answers: one for each question that
    is still open, in order. via: which program asks, for the records.
    """

    verdict: Literal["approve", "deny", "answer"]
    reason: str = Field(default="", max_length=REASON_MAX, pattern=NO_NUL)
    answers: list[Answer] = Field(default_factory=list, max_length=QUESTIONS_MAX)
    via: Literal["api", "cli"] = "api"


class Verdicted(BaseModel):
    """The approval's state after the verdict."""

    id: str
    state: str


@router.get("/approvals", tags=["approvals"])
async def approvals(
    api: UsesApi,
    me: Viewer,
    state: State = "pending",
    text: Annotated[str, Query(max_length=200)] = "",
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
) -> ApprovalList:
    """Questions to people. Open ones: what only operators decide first, then the oldest.

    Others, the newest first: `decided` for all of them, narrowed by a part of a tool's or an
    agent's name.
    """
    async with api.stores.database.read() as session:
        first = (page - 1) * PAGE_SIZE
        if state == "pending":
            views = await open_for_operators(session, text=text, limit=PAGE_SIZE, offset=first)
            total = await open_count(session, text)
        else:
            narrowed = "" if state == "decided" else state
            views, total = await history(
                session, text=text, state=narrowed, limit=PAGE_SIZE, offset=first
            )
    return ApprovalList(total=total, approvals=[_item(view, me) for view in views])


@router.get("/approvals/{id}", tags=["approvals"])
async def approval(api: UsesApi, me: Viewer, id: str) -> ApprovalItem:
    """One question, by its id or the beginning or end of it."""
    async with api.stores.database.read() as session:
        view = await question(session, await full_id(session, id), with_texts=True)
    return _item(view, me)


@router.post("/approvals/{id}", tags=["approvals"])
async def decide(request: Request, api: UsesApi, me: Operator, id: str, body: Verdict) -> Verdicted:
    """Approve, deny or answer. 409 with what counts where somebody decided before."""
    async with api.stores.database.read() as session:
        id = await full_id(session, id)
    ip = client_ip(request)
    if body.verdict == "answer":
        decision = await api.intake.answer(id, body.answers, me.name, body.via, ip)
    else:
        decision = await api.intake.decide(id, body.verdict, body.reason, me.name, body.via, ip)
    if not decision.counted:
        raise HTTPException(409, f"This was decided before: {decision.words}.")
    return Verdicted(id=id, state=decision.state)


def _item(view: ApprovalView, me: Principal) -> ApprovalItem:
    shown = view if me.may("operator") else without_words(view)
    return ApprovalItem(
        id=shown.id,
        kind=shown.kind,
        state=shown.state,
        agent=shown.agent,
        tool=shown.tool,
        preview=shown.preview,
        arguments=shown.arguments,
        questions=shown.questions,
        options=shown.options,
        free_text=shown.free_text,
        answers=shown.answers,
        rule=shown.rule,
        can_decide=shown.can_decide,
        can_answer=shown.can_answer,
        session=shown.chat_key,
        conversation_id=shown.conversation_id,
        turn_id=shown.turn_id,
        requester=shown.requester_name,
        created_at=shown.created_at,
        expires_at=shown.expires_at,
        decided_at=shown.decided_at,
        decided_by=shown.decided_name,
        decided_via=shown.via,
        reason=shown.reason,
    )
