"""The tables behind the ports, in memory: each port method as one transaction on them."""

from dataclasses import replace
from typing import Literal

from roost.context import Person, SessionInfo
from roost.flows.advancing import FlowFacts
from roost_channels.rendering.layout import is_blank
from roost_workflows.errors import TurnOver
from roost_workflows.ports import (
    CALL_ENDED,
    CallContext,
    CallRecord,
    CallState,
    CallStatus,
    ModelCall,
    Postponed,
    Snapshot,
    StepRecord,
    TranscriptMessage,
    TurnContext,
    TurnRecord,
)
from roost_workflows.storage.ends import Settled
from roost_workflows.testing.notes import NoteTable
from roost_workflows.testing.records import (
    Sent,
    StoredCall,
    StoredConversation,
    StoredStep,
    StoredTurn,
)
from roost_workflows.turn.endings import (
    NOT_RUN,
    answer_end,
    count_calls,
    ending_note,
    final_message,
    unfinished_call,
)


class TurnTables(NoteTable):
    """Conversations, turns and the outbox. Callers hold the store's lock; ids that do not exist
    raise KeyError.
    """

    def __init__(self, agent: str) -> None:
        super().__init__()
        self.agent = agent
        self.postponements: list[float] = []  # waits that the next begins are answered with
        self._conversations: dict[str, StoredConversation] = {}
        self._turns: dict[str, StoredTurn] = {}
        self._outbox: dict[str, Sent] = {}

    def _begin(self, conversation_id: str) -> TurnRecord | Postponed | None:
        conversation = self._conversation(conversation_id)
        running = self._running(conversation)
        if running is not None:
            return running.resumed
        if not conversation.pending:
            return None
        if self.postponements:
            return Postponed(self.postponements.pop(0))
        number = len(conversation.turns) + 1
        turn_id = f"{conversation_id}-turn-{number}"
        record = TurnRecord(
            turn_id, conversation_id, f"s-{conversation_id}", number, self.agent, False
        )
        self._turns[turn_id] = StoredTurn(record, snapshots=[Snapshot("queued")])
        conversation.turns.append(turn_id)
        self._take(conversation)
        return record

    def _get(self, turn_id: str) -> TurnRecord:
        return self._turns[turn_id].record

    def _step(self, turn_id: str, step: int) -> StepRecord | None:
        turn = self._turns.get(turn_id)
        stored = None if turn is None else turn.steps.get(step)
        if stored is None:
            return None
        return StepRecord(step, stored.finish, tuple(c.planned for c in stored.calls.values()))

    def _context(self, turn_id: str, step: int) -> TurnContext:
        turn = self._turns[turn_id]
        self._must_run(turn)
        conversation = self._conversation(turn.record.conversation_id)
        steered = 0
        if not turn.record.stop_requested and not any(s.is_open for s in turn.steps.values()):
            steered = self._take(conversation)
        return TurnContext(
            turn=turn.record,
            person_id="person-1",
            person_name="Ada",
            channel="console",
            session_key=f"console:local:{turn.record.conversation_id}",
            cache_salt="default",
            messages=[replace(m, position=i) for i, m in enumerate(conversation.transcript)],
            steered=steered,
            spent=turn.spent,
        )

    def _commit_step(self, turn_id: str, step: int, call: ModelCall) -> StepRecord:
        turn = self._turns[turn_id]
        known = self._step(turn_id, step)
        if known is not None:
            return known
        self._must_run(turn)
        finish = call.finish
        if turn.record.stop_requested and finish != "tools":
            finish = "stopped"
        calls = call.calls if finish == "tools" else ()
        planned = {one.call_id: StoredCall(one) for one in calls}
        is_open = finish == "tools"
        turn.error = ""
        turn.steps[step] = StoredStep(
            finish, call.text, planned, call.usage, is_open=is_open, asked=call.asked
        )
        if finish == "stopped":
            self._settle(turn_id, outcome="stopped", reason="stopped")
        elif finish != "tools":
            self._answer(turn, call)
        return StepRecord(step, finish, tuple(calls))

    def _answer(self, turn: StoredTurn, call: ModelCall) -> None:
        text = "" if is_blank(call.text) else call.text
        end = answer_end(call.finish, call.limit, text, files=0)
        message = TranscriptMessage("assistant", text, engine_message_id=call.engine_message_id)
        self._append(turn, replace(message, note_kind=end.note_kind, note=end.note))
        self._send(turn, "answer" if text else "notice", end.body, "answer")
        turn.state, turn.reason = "done", call.limit

    def _begin_call(self, turn_id: str, step: int, call_id: str) -> CallRecord:
        turn = self._turns[turn_id]
        call = turn.steps[step].calls[call_id]
        before = call.state
        if call.state not in CALL_ENDED:
            self._must_run(turn)
            if call.state == "planned" and turn.record.stop_requested:
                call.state = before = "skipped"
                call.result = NOT_RUN
            else:
                call.state = "running"
                call.attempts += 1
        return self._record(turn_id, step, call, before)

    def _call(self, turn_id: str, step: int, call_id: str) -> CallRecord:
        call = self._turns[turn_id].steps[step].calls[call_id]
        return self._record(turn_id, step, call, call.state)

    def _call_context(self, turn_id: str, step: int, call_id: str) -> CallContext:
        turn, call = self._turns[turn_id], self._call(turn_id, step, call_id)
        key = f"console:local:{turn.record.conversation_id}"
        session = SessionInfo(turn.record.session_id, key, "console")
        facts = FlowFacts(turn_id, Person("person-1", "Ada"), session)
        return CallContext(turn.record, call, facts, turn.spent)

    def _record(self, turn_id: str, step: int, call: StoredCall, state: CallState) -> CallRecord:
        return CallRecord(
            call_id=call.planned.call_id,
            name=call.planned.name,
            arguments=call.planned.arguments,
            effect=call.planned.effect,
            state=state,
            attempt=call.attempts,
            key=f"{turn_id}:{step}:{call.planned.call_id}",
            result=call.result,
        )

    def _finish_call(
        self,
        turn_id: str,
        step: int,
        call_id: str,
        *,
        status: CallStatus,
        result: str,
        error: str = "",
    ) -> None:
        call = self._turns[turn_id].steps[step].calls[call_id]
        if call.state not in CALL_ENDED:
            call.state, call.result, call.error = status, result, error

    def _close_group(self, turn_id: str, step: int) -> None:
        turn = self._turns[turn_id]
        stored = turn.steps[step]
        if not stored.is_open:
            return
        planned = [call.planned for call in stored.calls.values()]
        calls = tuple((one.call_id, one.name, one.arguments) for one in planned)
        self._append(turn, TranscriptMessage("assistant", stored.text, tool_calls=calls))
        for call in stored.calls.values():
            if call.state not in CALL_ENDED:
                call.state, call.result = unfinished_call(call.state, call.planned.effect)
            self._append(
                turn,
                TranscriptMessage(
                    "tool",
                    call.result,
                    tool_call_id=call.planned.call_id,
                    name=call.planned.name,
                    status=call.state,
                ),
            )
        stored.is_open = False

    def _stop_requested(self, turn_id: str) -> bool:
        return self._turns[turn_id].record.stop_requested

    def _worker_died(self, turn_id: str) -> int:
        turn = self._turns.get(turn_id)
        if turn is None or turn.state != "running":
            return 0
        turn.record = replace(turn.record, worker_deaths=turn.record.worker_deaths + 1)
        return turn.record.worker_deaths

    def _note_error(self, turn_id: str, error: str) -> None:
        turn = self._turns.get(turn_id)
        if turn is not None and turn.state == "running":
            turn.error = error

    def _settle(
        self, turn_id: str, *, outcome: Literal["stopped", "failed"], reason: str
    ) -> Settled:
        turn = self._turns[turn_id]
        if turn.state != "running":
            return self._counts(turn, already=True)
        for number, step in turn.steps.items():
            if step.is_open:
                self._close_group(turn_id, number)
        partial = self._partial_text(turn)
        note = ending_note(outcome, reason, 0.0)
        self._append(turn, TranscriptMessage("assistant", partial, note_kind=outcome, note=note))
        turn.state, turn.reason = outcome, reason
        settled = self._counts(turn, already=False)
        kind = "notice" if outcome == "stopped" else "error"
        self._send(turn, kind, final_message(outcome, reason, partial, settled), outcome)
        return settled

    def _partial_text(self, turn: StoredTurn) -> str:
        """The text of the stopped step, or of the last snapshot where the worker died instead."""
        last = turn.steps[max(turn.steps)] if turn.steps else None
        if last is not None and last.finish == "stopped":
            return last.text.strip()
        shown = turn.snapshots[-1]
        if shown.phase != "answering" or (last and last.text.strip() == shown.text.strip()):
            return ""
        return shown.text.strip()

    def _counts(self, turn: StoredTurn, *, already: bool) -> Settled:
        calls = [
            (call.planned.name, call.state)
            for step in turn.steps.values()
            for call in step.calls.values()
        ]
        return count_calls(calls, 0.0, already=already)

    def _progress(self, turn_id: str, snapshot: Snapshot) -> None:
        turn = self._turns.get(turn_id)
        if turn is not None and turn.state == "running":
            turn.snapshots.append(snapshot)

    def _conversation(self, conversation_id: str) -> StoredConversation:
        return self._conversations.setdefault(conversation_id, StoredConversation())

    def _running(self, conversation: StoredConversation) -> StoredTurn | None:
        turns = [self._turns[one] for one in conversation.turns]
        return next((turn for turn in turns if turn.state == "running"), None)

    def _take(self, conversation: StoredConversation) -> int:
        taken = len(conversation.pending)
        conversation.transcript.extend(conversation.pending)
        conversation.pending.clear()
        return taken

    def _append(self, turn: StoredTurn, message: TranscriptMessage) -> None:
        self._conversation(turn.record.conversation_id).transcript.append(message)

    def _send(self, turn: StoredTurn, kind: str, text: str, dedupe: str) -> None:
        record = turn.record
        sent = Sent(record.conversation_id, record.turn_id, kind, text)
        self._outbox.setdefault(f"{record.turn_id}:{dedupe}", sent)

    def _must_run(self, turn: StoredTurn) -> None:
        if turn.state != "running":
            raise TurnOver(f"Turn {turn.record.turn_id} is {turn.state}.")
