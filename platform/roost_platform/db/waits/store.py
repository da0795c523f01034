"""Waits of calls in the database."""

import json
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from roost.execution.call import Outcome
from roost.waits import Approve, Ask, Sleep, Spawn, Wait
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.locks import get_turn, lock_turn
from roost_platform.db.turns import end, parking
from roost_platform.db.turns.children.ending import outcome_of
from roost_platform.db.turns.children.spawning import spawn
from roost_platform.db.turns.lookups import person_of
from roost_platform.db.turns.steps import get_call
from roost_platform.db.waits.approvals import NewApproval, ask, latest
from roost_platform.db.waits.lineage import strictest_verdict
from roost_platform.db.waits.policies import PolicyDefaults
from roost_platform.errors import TurnOver
from roost_workflows.ports import CALL_ENDED
from roost_workflows.wait_ports import CallFacts, Gate

RUN: Final = Gate("run")
WAITS: Final = Gate("waits")
DENIED: Final = "Not run: policy does not allow {tool}."
OFF: Final = "Not run: {tool} is switched off by an operator."
REFUSED: Final = {
    "denied": "Not run: {who} said no.{reason}",
    "expired": "Not run: nobody decided in time.",
    "cancelled": "Not run: the question was cancelled.",
    "unreachable": "Not run: nobody could be reached for a decision.",
}
NO_ANSWER: Final = "no_answer"


class WaitStore:
    """Implements `roost_workflows.wait_ports.Waits`; every method is one transaction."""

    def __init__(self, database: Database, defaults: PolicyDefaults | None = None) -> None:
        self._database = database
        self._defaults = defaults or PolicyDefaults()

    async def gate(self, turn_id: str, step: int, call_id: str, facts: CallFacts) -> Gate:
        """See `Waits.gate`."""
        async with self._database.read() as session:
            gate = await self._judge(session, turn_id, step, call_id, facts)
        if gate is not None:
            return gate
        async with self._database.write() as session:
            turn, conversation = await lock_turn(session, turn_id)
            gate = await self._judge(session, turn_id, step, call_id, facts)
            if gate is not None:
                return gate
            call = await get_call(session, turn_id, step, call_id)
            before = await latest(session, turn_id, step, call_id)
            if before is not None:
                before.state = "stale"
            new = NewApproval(
                kind="approve",
                agent=facts.agent,
                tool=facts.tool,
                preview=preview(facts),
                rule=facts.approver,
                arguments=facts.arguments,
                tool_hash=facts.tool_hash,
                args_hash=facts.args_hash,
            )
            why_not = await ask(session, turn, conversation, call, new, self._database.now())
            return Gate("refused", why_not) if why_not else WAITS

    async def _judge(
        self, session: AsyncSession, turn_id: str, step: int, call_id: str, facts: CallFacts
    ) -> Gate | None:
        """What is decided about the call; None when people are to be asked."""
        call = await get_call(session, turn_id, step, call_id)
        if call.state in CALL_ENDED or (call.state == "running" and not call.wait):
            return RUN
        if call.state == "waiting":
            return WAITS
        asked = await latest(session, turn_id, step, call_id) if call.wait == "approval" else None
        if asked is not None and asked.state in REFUSED:
            who, reason = asked.decided_name or "the person", asked.reason
            told = REFUSED[asked.state].format(
                who=who, reason=f" Reason: {reason}" if reason else ""
            )
            return Gate("refused", told)
        if asked is not None and asked.state == "approved":
            same = (asked.tool_hash, asked.args_hash) == (facts.tool_hash, facts.args_hash)
            return RUN if same else None
        turn = await get_turn(session, turn_id)
        conversation = await session.get_one(models.Conversation, turn.conversation_id)
        person = await person_of(session, turn, conversation)
        person_id = "" if person is None else person.id
        verdict = await strictest_verdict(session, conversation, facts, person_id, self._defaults)
        match verdict:
            case "off":
                return Gate("refused", OFF.format(tool=facts.tool))
            case "deny":
                return Gate("refused", DENIED.format(tool=facts.tool))
            case "allow":
                return RUN
            case "ask":
                return None

    async def open(self, turn_id: str, step: int, call_id: str, wait: Wait) -> str:
        """See `Waits.open`."""
        async with self._database.write() as session:
            turn, conversation = await lock_turn(session, turn_id)
            call = await get_call(session, turn_id, step, call_id)
            if call.state in CALL_ENDED or call.state in ("waiting", "ready"):
                return ""
            now = self._database.now()
            match wait:
                case Sleep():
                    call.state, call.wait, call.due_at = "waiting", "sleep", wait.until
                    call.started_at = None
                    return ""
                case Ask():
                    new = NewApproval(
                        kind="ask" if len(wait.questions) == 1 else "form",
                        agent=turn.agent,
                        tool="",
                        preview="\n".join(question.text for question in wait.questions),
                        questions=[
                            {
                                "text": question.text,
                                "options": list(question.options),
                                "free_text": question.free_text or not question.options,
                            }
                            for question in wait.questions
                        ],
                        timeout_s=wait.timeout_s,
                    )
                    return await ask(session, turn, conversation, call, new, now)
                case Approve():
                    new = NewApproval(
                        kind="approve",
                        agent=turn.agent,
                        tool="",
                        preview=wait.text,
                        rule=wait.approver,
                        timeout_s=wait.timeout_s,
                    )
                    return await ask(session, turn, conversation, call, new, now)
                case Spawn():
                    return await spawn(session, turn, conversation, call, wait, now)

    async def outcome(self, turn_id: str, step: int, call_id: str) -> Outcome | None:
        """See `Waits.outcome`."""
        async with self._database.read() as session:
            call = await get_call(session, turn_id, step, call_id)
            if call.state in ("planned", "waiting") or not call.wait or call.wait == "approval":
                return None
            match call.wait:
                case "sleep":
                    return Outcome("ok", "done")
                case "question":
                    asked = await latest(session, turn_id, step, call_id)
                    return None if asked is None else answer_of(asked)
                case "child":
                    return await outcome_of(session, turn_id, step, call_id)
            return None

    async def park(self, turn_id: str) -> bool:
        """See `Waits.park`."""
        async with self._database.write() as session:
            try:
                turn, _ = await lock_turn(session, turn_id)
            except TurnOver:
                return True
            now = self._database.now()
            if turn.stop_requested_at is not None:
                await end.settle(session, turn_id, "stopped", "stopped", now)
                return True
            if await parking.can_go_on(session, turn_id):
                return False
            await parking.park(session, turn, now)
            return True


def answer_of(asked: models.Approval) -> Outcome:
    """The result of a question, as JSON where it was a form, for the one who asked."""
    if asked.state == "answered":
        if asked.kind == "form":
            pairs = zip(asked.questions, asked.answers, strict=False)
            answers = {question["text"]: answer for question, answer in pairs}
            return Outcome("ok", json.dumps(answers, ensure_ascii=False))
        return Outcome("ok", asked.answers[0])
    if asked.kind == "approve" and asked.state in ("approved", "denied", "expired"):
        verdict = "approved" if asked.state == "approved" else "denied"
        reason = asked.reason or ("nobody decided in time" if asked.state == "expired" else "")
        return Outcome("ok", f"{verdict}: {reason}" if reason else verdict)
    return Outcome("ok", NO_ANSWER)


def preview(facts: CallFacts) -> str:
    """What the card says of a call: the tool and its arguments."""
    arguments = json.loads(facts.arguments or "{}")
    lines = [f"{name}: {_short(value)}" for name, value in arguments.items()]
    return "\n".join([f"`{facts.tool}`", *lines])


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"
