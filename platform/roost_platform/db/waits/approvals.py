"""Questions to people as rows: asked once per call, decided once, bound to what was shown."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.waits import WAIT_S_DEFAULT
from roost_platform.approval_rules import ApprovalRules
from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.base.text import clean
from roost_platform.db.cards.cards import send_card
from roost_platform.db.turns.lookups import person_of

OPEN_SESSION_MAX: Final = 8
OPEN_PERSON_MAX: Final = 20
PREVIEW_MAX: Final = 600
NONCE_BYTES: Final = 16  # 22 characters
CODE_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # without I and O, which look like digits
CODE_LENGTH: Final = 3
CODE_TRIES_MAX: Final = 20
PARENTS_MAX: Final = 8  # more than any tree of agents is deep
DAY_S: Final = 24 * 3600.0

Kind = Literal["approve", "ask", "form"]
TOO_MANY: Final = "Nobody is asked: {count} questions are open already. Go on without it."
TOO_OFTEN: Final = "Nobody is asked: people were asked {count} times today. Go on without it."


@dataclass(frozen=True, slots=True)
class NewApproval:
    """What is asked. questions: {text, options, free_text} of each; empty for an approval."""

    kind: Kind
    agent: str
    tool: str
    preview: str
    rule: str = "requester"
    questions: Sequence[Mapping[str, Any]] = ()
    arguments: str = ""
    tool_hash: str = ""
    args_hash: str = ""
    timeout_s: float = WAIT_S_DEFAULT


async def ask(
    session: AsyncSession,
    turn: models.Turn,
    conversation: models.Conversation,
    call: models.ToolCall,
    new: NewApproval,
    now: float,
    rules: ApprovalRules,
) -> str:
    """Ask, and let the call wait. Returns why nobody is asked, for the model; else empty.

    The conversation is locked.
    """
    chat = await chat_of(session, conversation)
    person_id = await requester_of(session, turn, conversation)
    if why_not := await _refusal(session, conversation, chat, new.agent, person_id, now, rules):
        return why_not
    approval = await new_row(session, turn, conversation, call, new, person_id, now)
    approval.code = await _code(session, chat)
    approval.card_id = await send_card(session, chat, turn, approval, now, rules)
    is_gate = new.kind == "approve" and bool(new.tool)
    call.state, call.wait = "waiting", "approval" if is_gate else "question"
    call.started_at = None  # a pause is no work
    return ""


async def new_row(
    session: AsyncSession,
    turn: models.Turn,
    conversation: models.Conversation,
    call: models.ToolCall,
    new: NewApproval,
    person_id: str,
    now: float,
) -> models.Approval:
    """A pending question about the call, in the next round."""
    last = await latest(session, turn.id, call.step, call.call_id)
    approval = models.Approval(
        id=new_id(),
        conversation_id=conversation.id,
        chat_id=conversation.root_id or conversation.id,
        turn_id=turn.id,
        step=call.step,
        call_id=call.call_id,
        round=1 if last is None else last.round + 1,
        kind=new.kind,
        agent=new.agent,
        tool=new.tool,
        tool_hash=new.tool_hash,
        args_hash=new.args_hash,
        arguments=clean(new.arguments),
        preview=clean(new.preview)[:PREVIEW_MAX],
        questions=[clean(dict(question)) for question in new.questions],
        answers=[],
        requester_id=person_id,
        rule=new.rule,
        state="pending",
        nonce=secrets.token_urlsafe(NONCE_BYTES),
        due_at=now + new.timeout_s / 2,
        created_at=now,
        expires_at=now + new.timeout_s,
    )
    session.add(approval)
    await session.flush()
    return approval


async def chat_of(session: AsyncSession, conversation: models.Conversation) -> models.Conversation:
    """Where people are asked: the chat at the top of a child's tree."""
    if conversation.root_id is None:
        return conversation
    return await session.get_one(models.Conversation, conversation.root_id)


async def requester_of(
    session: AsyncSession, turn: models.Turn, conversation: models.Conversation
) -> str:
    """The id of the person for whom the turn works, also where agents stand between them; empty
    where nobody is known.
    """
    for _ in range(PARENTS_MAX):
        if conversation.kind != "child":
            person = await person_of(session, turn, conversation)
            return "" if person is None else person.id
        parent_id = await session.scalar(
            select(models.ChildTask.parent_turn_id).where(
                models.ChildTask.conversation_id == conversation.id
            )
        )
        if parent_id is None:
            break
        turn = await session.get_one(models.Turn, parent_id)
        conversation = await session.get_one(models.Conversation, turn.conversation_id)
    return ""


async def latest(
    session: AsyncSession, turn_id: str, step: int, call_id: str
) -> models.Approval | None:
    """The newest question about a call."""
    return await session.scalar(
        select(models.Approval)
        .where(
            models.Approval.turn_id == turn_id,
            models.Approval.step == step,
            models.Approval.call_id == call_id,
        )
        .order_by(models.Approval.round.desc())
        .limit(1)
    )


async def _code(session: AsyncSession, chat: models.Conversation) -> str:
    """Three letters that no other open question of the chat has."""
    taken = set(
        await session.scalars(
            select(models.Approval.code).where(
                models.Approval.chat_id == chat.id, models.Approval.state == "pending"
            )
        )
    )
    for _ in range(CODE_TRIES_MAX):
        code = "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
        if code not in taken:
            break
    return code


async def _refusal(
    session: AsyncSession,
    conversation: models.Conversation,
    chat: models.Conversation,
    agent: str,
    person_id: str,
    now: float,
    rules: ApprovalRules,
) -> str:
    """Why nobody may be asked now; empty where somebody is."""

    async def count(*conditions: Any) -> int:
        query = select(func.count()).select_from(models.Approval).where(*conditions)
        return await session.scalar(query) or 0

    pending = models.Approval.state == "pending"
    open_here = await count(pending, models.Approval.conversation_id == conversation.id)
    if open_here >= OPEN_SESSION_MAX:
        return TOO_MANY.format(count=open_here)
    if person_id:
        of_person = await count(pending, models.Approval.requester_id == person_id)
        if of_person >= OPEN_PERSON_MAX:
            return TOO_MANY.format(count=of_person)
    today = await count(
        models.Approval.chat_id == chat.id,
        models.Approval.agent == agent,
        models.Approval.created_at > now - DAY_S,
        models.Approval.card_id.is_not(None),  # a standing approval asked nobody
    )
    return TOO_OFTEN.format(count=today) if today >= rules.asks_a_day else ""
