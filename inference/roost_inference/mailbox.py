"""Hands requests, aborts and commands of other threads to the engine thread, under one lock."""

import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable

from roost_inference.errors import EngineUnavailable, InvalidRequest, QueueFull
from roost_inference.sequence import Sequence

STOPPING = "The engine is stopping"
COMMANDS_MAX = 1024
# The part of a class's places that one tenant may take; the rest is for the other tenants.
TENANT_SHARE = 0.75


class Mailbox:
    """Thread-safe. Each class has `queue_limit` places of its own, so background requests never
    keep out interactive ones.

    `interrupt` and `clear_interrupt` act on the kernels' abort flag, always under the lock: the
    flag is only set while a step that may be interrupted is being computed.
    """

    def __init__(
        self,
        *,
        queue_limit: int,
        interrupt: Callable[[], None],
        clear_interrupt: Callable[[], None],
    ) -> None:
        self._queue_limit = queue_limit
        self._interrupt = interrupt
        self._clear_interrupt = clear_interrupt
        self._changed = threading.Condition()
        self._live: dict[str, Sequence] = {}
        self._arrived: deque[Sequence] = deque()
        self._aborted: set[str] = set()
        self._interruptible: frozenset[str] = frozenset()
        self._is_long_prefill = self._anybody_interrupts = False
        self._was_interrupted = False
        self.refused: Counter[str] = Counter()
        self._commands: deque[Callable[[], None]] = deque()
        self._woken = False
        self._refusal: str | None = None
        self._stopping = False

    # Any thread may call these.

    @property
    def has_live(self) -> bool:
        """Whether a request has not ended yet."""
        return bool(self._live)

    def put(self, sequence: Sequence, retry_after_s: Callable[[int], float]) -> None:
        """Hand over a request. Raises QueueFull, EngineUnavailable; nothing is queued then."""
        with self._changed:
            if self._refusal is not None:
                raise EngineUnavailable(self._refusal)
            if sequence.id in self._live:
                raise InvalidRequest(f"A request with the id {sequence.id!r} is running")
            self._check_places(sequence, retry_after_s)
            self._live[sequence.id] = sequence
            self._arrived.append(sequence)
            self._changed.notify()

    def _check_places(self, sequence: Sequence, retry_after_s: Callable[[int], float]) -> None:
        """Raise QueueFull if the places of its class are taken, or its tenant's share of them."""
        waiting = [
            other
            for other in self._live.values()
            if other.service is sequence.service and other.sequence_id is None
        ]
        count, share = len(waiting), math.ceil(TENANT_SHARE * self._queue_limit)
        own = sum(other.fairness_key == sequence.fairness_key for other in waiting)
        if count < self._queue_limit and own < share:
            return
        service = sequence.service.name.lower()
        self.refused[service] += 1
        whose = "" if count >= self._queue_limit else " of this tenant"
        raise QueueFull(
            f"{own if whose else count} {service} requests{whose} are waiting already",
            retry_after_s=retry_after_s(count),
        )

    def abort(self, request_id: str) -> None:
        """Have a request end before the next step. A long step that computes the request is
        interrupted. So is a long step of other requests' prompts, as cells must come free soon,
        but never twice in a row. Unknown ids are ignored."""
        with self._changed:
            if request_id not in self._live:
                return
            self._aborted.add(request_id)
            if request_id in self._interruptible or self._anybody_interrupts:
                self._interrupt()
            self._changed.notify()

    def post(self, command: Callable[[], None]) -> None:
        """Have the engine thread run a command between two steps. Raises EngineUnavailable, and
        QueueFull beyond COMMANDS_MAX."""
        with self._changed:
            if self._refusal is not None:
                raise EngineUnavailable(self._refusal)
            if len(self._commands) >= COMMANDS_MAX:
                raise QueueFull(f"{COMMANDS_MAX} commands are waiting already")
            self._commands.append(command)
            self._changed.notify()

    def wake(self) -> None:
        """Something that a waiting request waits for has happened."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def refuse(self, reason: str) -> None:
        """Take no more requests."""
        with self._changed:
            self._refusal = reason

    def stop(self) -> None:
        """Take no more requests and end the present step."""
        with self._changed:
            self._refusal = STOPPING
            self._stopping = True
            self._interrupt()
            self._changed.notify()

    # Only the engine thread calls these.

    def wait(self, has_work: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Block until there is something to do or the time is up; False once the engine stops."""
        with self._changed:
            while not (
                self._stopping
                or self._woken
                or self._arrived
                or self._aborted
                or self._commands
                or has_work()
            ):
                if not self._changed.wait(timeout_s):
                    break
            self._woken = False
            return not self._stopping

    def take_commands(self) -> Iterable[Callable[[], None]]:
        """The commands that were posted, each once."""
        with self._changed:
            commands, self._commands = self._commands, deque()
            return commands

    def take(self) -> tuple[Iterable[Sequence], list[Sequence]]:
        """The sequences that arrived and those to abort, each once."""
        with self._changed:
            arrived, self._arrived = self._arrived, deque()
            aborted, self._aborted = self._aborted, set()
            return arrived, [self._live[i] for i in sorted(aborted & self._live.keys())]

    def begin_step(self, interruptible: Iterable[str], *, by_anybody: bool) -> bool:
        """Announce a step that the aborts of these requests, or of any, may interrupt. False if
        it should not begin, because an abort came after `take`."""
        with self._changed:
            if self._aborted or self._stopping:
                return False
            self._interruptible = frozenset(interruptible)
            self._is_long_prefill = by_anybody
            self._anybody_interrupts = by_anybody and not self._was_interrupted
            return True

    def end_step(self, *, interrupted: bool) -> None:
        """The step has ended: no abort may interrupt anything now."""
        with self._changed:
            self._interruptible = frozenset()
            self._anybody_interrupts = False
            if self._is_long_prefill:
                self._was_interrupted = interrupted
            if not self._stopping:
                self._clear_interrupt()

    def forget(self, request_id: str) -> None:
        """The request has ended."""
        with self._changed:
            self._live.pop(request_id, None)
            self._aborted.discard(request_id)
