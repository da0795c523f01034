"""The tables behind the ports, in memory and faithful to the ports' contracts."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from roost.effects import Effect
from roost_workflows.ports import (
    CALL_ENDED,
    CallRecord,
    CallState,
    CallStatus,
    ModelCall,
    Postponed,
    Settled,
    Snapshot,
    StepRecord,
    TranscriptMessage,
    TurnContext,
    TurnRecord,
)
from roost_workflows.testing.notes import NoteTable
from roost_workflows.testing.records import (
    Sent,
    StoredCall,
    StoredConversation,
    StoredStep,
    StoredTurn,
)


class MemoryStore(NoteTable):
    """The tables behind the ports; every method is one transaction under a lock."""

    def __init__(self, agent: str = "concierge") -> None:
        super().__init__()
        self.agent = agent
        self.postponements: list[float] = []  # waits that the next begins are answered with
        self._lock = threading.RLock()
        self._conversations: dict[str, StoredConversation] = {}
        self._turns: dict[str, StoredTurn] = {}
        self._outbox: dict[str, Sent] = {}
        self._failures: dict[str, Exception] = {}
        self._lost: set[str] = set()

    # What tests do and see ---------------------------------------------------------------------

    def say(self, conversation_id: str, text: str, quoted: Mapping[str, Any] | None = None) -> None:
        """A message arrives and is committed to the inbox."""
        with self._lock:
            message = TranscriptMessage("user", text, quoted=quoted)
            self._conversation(conversation_id).pending.append(message)

    def request_stop(self, conversation_id: str) -> bool:
        """Record a stop: on the running turn if there is one, and drop what waits."""
        with self._lock:
            conversation = self._conversation(conversation_id)
            conversation.pending.clear()
            turn = self._running(conversation)
            if turn is None:
                return False
            turn.record = replace(turn.record, stop_requested=True)
            return True

    def turns(self, conversation_id: str) -> list[StoredTurn]:
        with self._lock:
            return [self._turns[one] for one in self._conversation(conversation_id).turns]

    def transcript(self, conversation_id: str) -> list[TranscriptMessage]:
        with self._lock:
            return list(self._conversation(conversation_id).transcript)

    def outbox(self, conversation_id: str) -> list[Sent]:
        with self._lock:
            return [one for one in self._outbox.values() if one.conversation_id == conversation_id]

    def fail(self, method: str, error: Exception | None) -> None:
        """Let a method raise until told otherwise."""
        with self._lock:
            if error is None:
                self._failures.pop(method, None)
            else:
                self._failures[method] = error

    def lose_reply(self, method: str) -> None:
        """Let the next call of a method commit and then fail, as if its caller had died."""
        with self._lock:
            self._lost.add(method)

    # The ports ---------------------------------------------------------------------------------

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one port method as a transaction; the proxies' only door."""
        with self._lock:
            if method in self._failures:
                raise self._failures[method]
            result = getattr(self, f"_{method}")(*args, **kwargs)
            if method in self._lost:
                self._lost.remove(method)
                raise ConnectionError("the reply was lost")
            return result

    def _begin(self, conversation_id: str) -> TurnRecord | Postponed | None:
        conversation = self._conversation(conversation_id)
        running = self._running(conversation)
        if running is not None:
            return running.record
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
        stored = self._turns[turn_id].steps.get(step)
        if stored is None:
            return None
        return StepRecord(step, stored.finish, tuple(c.planned for c in stored.calls.values()))

    def _context(self, turn_id: str, step: int) -> TurnContext:
        turn = self._turns[turn_id]
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
            tenant="default",
            messages=tuple(conversation.transcript),
            steered=steered,
        )

    def _commit_step(
        self,
        turn_id: str,
        step: int,
        call: ModelCall,
    ) -> StepRecord:
        turn = self._turns[turn_id]
        known = self._step(turn_id, step)
        if known is not None:
            return known
        self._must_run(turn)
        finish, text = call.finish, call.text
        if turn.record.stop_requested and finish != "tools":
            finish = "stopped"
        calls = call.calls if finish == "tools" else ()
        planned = {one.call_id: StoredCall(one) for one in calls}
        turn.steps[step] = StoredStep(finish, text, planned, call.usage, is_open=finish == "tools")
        if finish not in ("tools", "stopped"):
            said = text if text.strip() else "I have no answer to that."
            self._append(turn, TranscriptMessage("assistant", text))
            self._send(turn, "answer" if text.strip() else "notice", said, "answer")
            turn.state = "done"
        return StepRecord(step, finish, tuple(calls))

    def _begin_call(self, turn_id: str, step: int, call_id: str) -> CallRecord:
        turn = self._turns[turn_id]
        call = turn.steps[step].calls[call_id]
        before = call.state
        if call.state not in CALL_ENDED:
            self._must_run(turn)
            if call.state == "planned" and turn.record.stop_requested:
                call.state = before = "skipped"
            else:
                call.state = "running"
                call.attempts += 1
        return CallRecord(
            call_id=call_id,
            name=call.planned.name,
            arguments=call.planned.arguments,
            effect=call.planned.effect,
            state=before,
            attempt=call.attempts,
            key=f"{turn_id}:{step}:{call_id}",
            result=call.result,
        )

    def _finish_call(
        self, turn_id: str, step: int, call_id: str, *, status: CallStatus, result: str
    ) -> None:
        call = self._turns[turn_id].steps[step].calls[call_id]
        if call.state not in CALL_ENDED:
            call.state, call.result = status, result

    def _close_group(self, turn_id: str, step: int) -> None:
        turn = self._turns[turn_id]
        stored = turn.steps[step]
        if not stored.is_open:
            return
        made = [call.planned for call in stored.calls.values()]
        asked = tuple((one.call_id, one.name, one.arguments) for one in made)
        self._append(turn, TranscriptMessage("assistant", stored.text, tool_calls=asked))
        for call in stored.calls.values():
            if call.state not in CALL_ENDED:
                call.state = _never_finished(call.state, call.planned.effect)
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

    def _settle(
        self, turn_id: str, *, outcome: Literal["stopped", "failed"], reason: str
    ) -> Settled:
        turn = self._turns[turn_id]
        if turn.state != "running":
            return Settled(already=True)
        for number, step in turn.steps.items():
            if step.is_open:
                self._close_group(turn_id, number)
        last = turn.steps[max(turn.steps)] if turn.steps else None
        partial = last.text if last is not None and last.finish == "stopped" else ""
        note = "stopped by the user after 1 s" if outcome == "stopped" else f"failed: {reason}"
        self._append(turn, TranscriptMessage("assistant", partial, note_kind=outcome, note=note))
        turn.state, turn.reason = outcome, reason
        states = [call.state for step in turn.steps.values() for call in step.calls.values()]
        settled = Settled(
            done=states.count("ok"),
            undone=sum(state in ("error", "cancelled", "skipped") for state in states),
            unknown=states.count("unknown"),
        )
        counts = f"{settled.done} done, {settled.undone} undone, {settled.unknown} unknown"
        self._send(turn, "notice", f"{partial}\n\n{outcome}: {counts}".strip(), outcome)
        return settled

    def _progress(self, turn_id: str, snapshot: Snapshot) -> None:
        turn = self._turns[turn_id]
        if turn.state == "running":
            turn.snapshots.append(snapshot)

    # Helpers -----------------------------------------------------------------------------------

    def _conversation(self, conversation_id: str) -> StoredConversation:
        return self._conversations.setdefault(conversation_id, StoredConversation())

    def _running(self, conversation: StoredConversation) -> StoredTurn | None:
        found = [self._turns[one] for one in conversation.turns]
        return next((turn for turn in found if turn.state == "running"), None)

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
            raise RuntimeError(f"turn {turn.record.turn_id} is over")


def _never_finished(state: CallState, effect: Effect) -> CallState:
    if state == "planned":
        return "skipped"
    return "cancelled" if effect == "pure" else "unknown"
