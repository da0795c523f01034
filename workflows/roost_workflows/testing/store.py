"""A store in memory that keeps the ports' contracts, with what tests change and read."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from roost_workflows.ports import TranscriptMessage
from roost_workflows.testing.records import Sent, StoredTurn
from roost_workflows.testing.tables import TurnTables


class MemoryStore(TurnTables):
    """The tables behind the ports; every method is one transaction under a lock."""

    def __init__(self, agent: str = "concierge") -> None:
        super().__init__(agent)
        self._lock = threading.RLock()
        self._failures: dict[str, Exception] = {}
        self._lost: set[str] = set()

    def say(self, conversation_id: str, text: str, quoted: Mapping[str, Any] | None = None) -> None:
        """A message arrives and is committed to the inbox."""
        with self._lock:
            message = TranscriptMessage("user", text, quoted=quoted)
            self._conversation(conversation_id).pending.append(message)

    def request_stop(self, conversation_id: str) -> bool:
        """Record a stop on the running turn and drop what waits; False when no turn runs."""
        with self._lock:
            conversation = self._conversation(conversation_id)
            conversation.pending.clear()
            turn = self._running(conversation)
            if turn is None:
                return False
            turn.record = replace(turn.record, stop_requested=True)
            return True

    def turns(self, conversation_id: str) -> list[StoredTurn]:
        """The conversation's turns, oldest first."""
        with self._lock:
            return [self._turns[one] for one in self._conversation(conversation_id).turns]

    def transcript(self, conversation_id: str) -> list[TranscriptMessage]:
        """All messages of the conversation."""
        with self._lock:
            return list(self._conversation(conversation_id).transcript)

    def outbox(self, conversation_id: str) -> list[Sent]:
        """What was queued for the conversation, oldest first."""
        with self._lock:
            return [one for one in self._outbox.values() if one.conversation_id == conversation_id]

    def fail(self, method: str, error: Exception | None) -> None:
        """Let a method raise `error`; None lets it work again."""
        with self._lock:
            if error is None:
                self._failures.pop(method, None)
            else:
                self._failures[method] = error

    def lose_reply(self, method: str) -> None:
        """Let the next call of a method commit and then fail, as if its caller had died."""
        with self._lock:
            self._lost.add(method)

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one port method as a transaction."""
        with self._lock:
            if method in self._failures:
                raise self._failures[method]
            result = getattr(self, f"_{method}")(*args, **kwargs)
            if method in self._lost:
                self._lost.remove(method)
                raise ConnectionError("the reply was lost")
            return result
