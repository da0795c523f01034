"""Whether a call may run now: operators' policies, what people decided, and standing approvals."""

import json
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.approval_rules import ApprovalRules
from roost_platform.db import models
from roost_platform.db.base.text import visible
from roost_platform.db.cards.cards import close_card
from roost_platform.db.locks import check_running, lock_turn
from roost_platform.db.turns.steps import get_call
from roost_platform.db.waits.approvals import (
    NewApproval,
    ask,
    latest,
    new_row,
    requester_of,
)
from roost_platform.db.waits.grants import use_grant
from roost_platform.db.waits.lineage import strictest_verdict
from roost_workflows.ports import CALL_ENDED
from roost_workflows.storage.waits import CallFacts, Gate

RUN: Final = Gate("run")
WAITS: Final = Gate("waits")
DENIED: Final = "Not run: policy does not allow {tool}."
OFF: Final = "Not run: {tool} is switched off by an operator."
NOT_ASKED: Final = "Not run: {tool} needs an approval, and nobody can be asked here."
REFUSED: Final = {
    "denied": "Not run: {who} said no.{reason}",
    "expired": "Not run: nobody decided in time.",
    "cancelled": "Not run: the question was cancelled.",
    "unreachable": "Not run: nobody could be reached for a decision.",
}
BY_GRANT: Final = "grant"  # `decided_via` of a run under a standing approval
VALUE_MAX: Final = 200  # characters of one argument on a card


async def pass_gate(
    session: AsyncSession,
    turn_id: str,
    step: int,
    call_id: str,
    facts: CallFacts,
    rules: ApprovalRules,
    now: float,
) -> Gate:
    """Decide whether the call may run; where people must say so, ask them and let it wait."""
    turn, conversation = await lock_turn(session, turn_id, running=False)
    gate = await judge(session, turn, conversation, step, call_id, facts, rules)
    if gate is not None:
        return gate
    if not facts.can_wait:
        return Gate("refused", NOT_ASKED.format(tool=facts.tool))
    check_running(turn)
    if turn.stop_requested_at is not None:
        return RUN  # nobody is asked any more; it does not begin
    return await ask_or_use_grant(session, turn, conversation, step, call_id, facts, rules, now)


async def judge(
    session: AsyncSession,
    turn: models.Turn,
    conversation: models.Conversation,
    step: int,
    call_id: str,
    facts: CallFacts,
    rules: ApprovalRules,
) -> Gate | None:
    """What is decided about the call; None when people, or a grant, are to be asked."""
    call = await get_call(session, turn.id, step, call_id)
    if call.state in CALL_ENDED:
        return RUN
    if call.state == "waiting":
        return WAITS
    person_id = await requester_of(session, turn, conversation)
    verdict = await strictest_verdict(session, conversation, facts, person_id, rules)
    if verdict in ("off", "deny"):  # also where people said yes before an operator said no
        return Gate("refused", (OFF if verdict == "off" else DENIED).format(tool=facts.tool))
    asked = await latest(session, turn.id, step, call_id) if call.wait == "approval" else None
    has_begun = call.state == "running"  # before a crash: its effect class decides, not people
    if asked is not None and asked.state in REFUSED:
        reason = f" Reason: {asked.reason}" if asked.reason else ""
        who = asked.decided_name or "the person"
        return Gate("refused", REFUSED[asked.state].format(who=who, reason=reason))
    if has_begun or (asked is not None and asked.state == "approved" and _is_same(asked, facts)):
        return RUN
    return RUN if verdict == "allow" else None


async def ask_or_use_grant(
    session: AsyncSession,
    turn: models.Turn,
    conversation: models.Conversation,
    step: int,
    call_id: str,
    facts: CallFacts,
    rules: ApprovalRules,
    now: float,
) -> Gate:
    """Let a standing approval decide, or ask people. The conversation is locked.

    Each use of a grant is on record as an approval of its own.
    """
    call = await get_call(session, turn.id, step, call_id)
    before = await latest(session, turn.id, step, call_id)
    if before is not None and before.state in ("pending", "approved"):
        before.state = "stale"
        await close_card(session, before, now)
    new = NewApproval(
        kind="approve",
        agent=facts.agent,
        tool=facts.tool,
        preview=preview(facts),
        rule=facts.approver,
        arguments=facts.arguments,
        tool_hash=facts.tool_hash,
        args_hash=facts.args_hash,
        timeout_s=rules.expire_s,
    )
    person_id = await requester_of(session, turn, conversation)
    grant = None
    if facts.approver == "requester":
        grant = await use_grant(session, turn, facts, person_id, now)
    if grant is not None:
        row = await new_row(session, turn, conversation, call, new, person_id, now)
        row.state, row.decided_at, row.decided_via = "approved", now, BY_GRANT
        row.decided_by, row.decided_name = person_id, "a standing approval"
        call.wait = "approval"
        return RUN
    why_not = await ask(session, turn, conversation, call, new, now, rules)
    return Gate("refused", why_not) if why_not else WAITS


def _is_same(asked: models.Approval, facts: CallFacts) -> bool:
    """Whether the call is the one that was approved: same tool, code and arguments."""
    approved = (asked.agent, asked.tool, asked.tool_hash, asked.args_hash)
    return approved == (facts.agent, facts.tool, facts.tool_hash, facts.args_hash)


def preview(facts: CallFacts) -> str:
    """The arguments as the card shows them, one a line."""
    arguments = json.loads(facts.arguments or "{}")
    shown = (f"{visible(name)}: {_short(value)}" for name, value in arguments.items())
    return "\n".join(shown)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = visible(" ".join(text.split()))
    return text if len(text) <= VALUE_MAX else f"{text[:VALUE_MAX]}…"
