"""Waits of calls in the database."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy.ext.asyncio import AsyncSession

from roost.execution.call import Outcome
from roost.waits import WAIT_S_MAX, Approve, Ask, Question, Sleep, Spawn, Wait
from roost_platform.approval_rules import ApprovalRules
from roost_platform.db import models
from roost_platform.db.audit import audit
from roost_platform.db.base.engine import Database
from roost_platform.db.cards.words import ANOTHER, verdict_line
from roost_platform.db.locks import lock_conversation, lock_turn
from roost_platform.db.turns import end, parking
from roost_platform.db.turns.children.ending import outcome_of
from roost_platform.db.turns.children.spawning import spawn
from roost_platform.db.turns.steps import begin_call, get_call
from roost_platform.db.waits.answering import answers_of
from roost_platform.db.waits.approvals import NewApproval, ask, latest
from roost_platform.db.waits.deciding import Decider, decide
from roost_platform.db.waits.gate import pass_gate
from roost_platform.db.waits.grants import can_be_standing, give_grant, revoke
from roost_platform.db.waits.own_requests import asked_themselves
from roost_platform.errors import NotAllowed, NotFound, TurnOver
from roost_workflows.ports import CALL_ENDED
from roost_workflows.storage.waits import CallFacts, Gate

OperatorVerdict = Literal["approve", "always", "deny"]
NO_ANSWER: Final = "no_answer"
SLEEP_TOO_LONG: Final = f"A sleep lasts at most {WAIT_S_MAX / 86400:.0f} days."
UNDECIDED: Final = {
    "expired": "nobody decided in time",
    "unreachable": "nobody could be reached",
    "cancelled": "the question was cancelled",
}


@dataclass(frozen=True, slots=True)
class OperatorDecision:
    """What an operator's verdict led to.

    state: of the approval now. counted: whether it was this verdict that counted; else `words` tell
    who decided before. conversation_id: to be rung, None where nothing waits for it.
    """

    state: str
    counted: bool
    words: str
    conversation_id: str | None

    @property
    def rung(self) -> tuple[str, ...]:
        """The conversation to ring, if any."""
        return () if self.conversation_id is None else (self.conversation_id,)


class WaitStore:
    """Implements `roost_workflows.storage.waits.Waits`; every method is one transaction."""

    def __init__(self, database: Database, rules: ApprovalRules | None = None) -> None:
        self._database = database
        self._rules = rules or ApprovalRules()

    @property
    def rules(self) -> ApprovalRules:
        """How people are asked."""
        return self._rules

    async def gate(self, turn_id: str, step: int, call_id: str, facts: CallFacts) -> Gate:
        """See `Waits.gate`."""
        async with self._database.write() as session:
            now = self._database.now()
            return await pass_gate(session, turn_id, step, call_id, facts, self._rules, now)

    async def begin(self, turn_id: str, step: int, call_id: str, facts: CallFacts) -> Gate:
        """See `Waits.begin`."""
        async with self._database.write() as session:
            now = self._database.now()
            gate = await pass_gate(session, turn_id, step, call_id, facts, self._rules, now)
            if gate.verdict != "run":
                return gate
            begun = await begin_call(session, turn_id, step, call_id, now)
            if begun.state in CALL_ENDED:
                return Gate("over")
            return Gate("run", attempt=begun.attempt, was_running=begun.state == "running")

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
                    if wait.until - now > WAIT_S_MAX:
                        return SLEEP_TOO_LONG
                    call.state, call.wait, call.due_at = "waiting", "sleep", wait.until
                    call.started_at = None
                    return ""
                case Ask() | Approve():
                    new = _asked(turn.agent, wait)
                    return await ask(session, turn, conversation, call, new, now, self._rules)
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
                if await session.get(models.FlowRun, turn_id) is not None:
                    return False  # it has to hear of the stop, and may have to undo something
                await end.settle(session, turn_id, "stopped", "stopped", now)
                return True
            if await parking.can_go_on(session, turn_id):
                return False
            await parking.park(session, turn, now)
            return True

    async def decide_as_operator(
        self,
        approval_id: str,
        verdict: OperatorVerdict,
        reason: str,
        operator: str,
        via: str,
        ip: str = "",
    ) -> OperatorDecision:
        """Decide an approval outside the chat; the first verdict counts. Raises NotFound, and
        NotAllowed for a question, which takes an answer, for `always` where no standing approval
        can be given, and where another person than this operator has to decide.

        `PlatformIntake.decide` rings as well; else the sweeper does.
        """
        async with self._database.write() as session:
            approval = await lock_approval(session, approval_id)
            if approval.kind != "approve":
                raise NotAllowed("This is a question: it takes an answer, not a verdict.")
            if verdict == "always" and not can_be_standing(approval):
                raise NotAllowed("This call can't be approved for longer: it is decided each time.")
            if approval.rule == "another" and await asked_themselves(session, approval, operator):
                raise NotAllowed(ANOTHER)
            by = Decider(operator, operator, via, is_operator=True, ip=ip)
            word: Literal["approved", "denied"] = "denied" if verdict == "deny" else "approved"
            was_pending, now = approval.state == "pending", self._database.now()
            rung = await decide(session, approval, word, by, now, reason=reason)
            counted = was_pending and approval.state == word
            if verdict == "always" and counted:
                grant = await give_grant(session, approval, now, self._rules.grant_s)
                detail = {"tool": approval.tool, "approval": approval.id, "for": grant.subject}
                await audit(session, now, operator, "grant.give", grant.id, detail, ip)
            return OperatorDecision(
                approval.state, counted, verdict_line(approval, None).rstrip("."), rung
            )

    async def answer_as_operator(
        self, approval_id: str, answers: Sequence[str], operator: str, via: str, ip: str = ""
    ) -> OperatorDecision:
        """Answer what is still open of a question or form in the person's place; the first answer
        counts. Raises NotFound, and NotAllowed for an approval and for answers that don't fit.

        `PlatformIntake.answer` rings as well; else the sweeper does.
        """
        async with self._database.write() as session:
            approval = await lock_approval(session, approval_id)
            if approval.kind == "approve":
                raise NotAllowed("This is an approval: it takes a verdict, not an answer.")
            by = Decider(operator, f"operator {operator}", via, is_operator=True, ip=ip)
            was_pending, rung = approval.state == "pending", None
            if was_pending:
                said = answers_of(approval, answers)
                now = self._database.now()
                rung = await decide(session, approval, "answered", by, now, answers=said)
            words = verdict_line(approval, None).rstrip(".")
            counted = was_pending and approval.state == "answered"
            return OperatorDecision(approval.state, counted, words, rung)

    async def revoke_grant(self, grant_id: str, operator: str, ip: str = "") -> None:
        """End a standing approval; people are asked again from now on. Raises NotFound."""
        async with self._database.write() as session:
            now = self._database.now()
            grant = await revoke(session, grant_id, now)
            if grant is None:
                raise NotFound("There is no such standing approval, or it was ended before.")
            await audit(session, now, operator, "grant.revoke", grant_id, {"tool": grant.tool}, ip)


async def lock_approval(session: AsyncSession, approval_id: str) -> models.Approval:
    """The question, the conversation that asked it locked. Raises NotFound."""
    approval = await session.get(models.Approval, approval_id)
    if approval is None:
        raise NotFound("There is no such question.")
    await lock_conversation(session, approval.conversation_id)
    await session.refresh(approval)
    return approval


def _asked(agent: str, wait: Ask | Approve) -> NewApproval:
    if isinstance(wait, Approve):
        return NewApproval(
            kind="approve",
            agent=agent,
            tool="",
            preview=wait.text,
            rule=wait.approver,
            timeout_s=wait.timeout_s,
        )
    return NewApproval(
        kind="ask" if len(wait.questions) == 1 else "form",
        agent=agent,
        tool="",
        preview="\n".join(question.text for question in wait.questions),
        questions=_stored(wait.questions),
        timeout_s=wait.timeout_s,
    )


def _stored(questions: Sequence[Question]) -> list[dict[str, object]]:
    return [
        {
            "text": question.text,
            "options": list(question.options),
            "free_text": question.free_text or not question.options,
        }
        for question in questions
    ]


def answer_of(asked: models.Approval) -> Outcome:
    """The result of a question, as JSON where it was a form, for the one who asked."""
    if asked.state == "answered":
        if asked.kind == "form":
            pairs = zip(asked.questions, asked.answers, strict=False)
            answers = {question["text"]: answer for question, answer in pairs}
            return Outcome("ok", json.dumps(answers, ensure_ascii=False))
        return Outcome("ok", asked.answers[0])
    if asked.kind == "approve":
        verdict = "approved" if asked.state == "approved" else "denied"
        reason = asked.reason or UNDECIDED.get(asked.state, "")
        return Outcome("ok", f"{verdict}: {reason}" if reason else verdict)
    return Outcome("ok", NO_ANSWER)
