"""The queue: sequences by class and tenant, and which of them is next."""

import heapq
from collections.abc import Iterable, Iterator

from roost_inference.request import ServiceClass
from roost_inference.scheduling.fairness import RESERVED_DECODE_MAX, ClassAccounts, Floors
from roost_inference.sequence import Account, Sequence

# A heap of a tenant's waiting sequences, by priority and arrival.
TenantQueue = list[tuple[tuple[int, int], Sequence]]
NOBODY = (0,) * len(ServiceClass)


class WaitingQueue:
    """Everything that waits, and the accounts of every tenant that is served."""

    def __init__(self) -> None:
        self._accounts = {service: ClassAccounts() for service in ServiceClass}
        self._queues: dict[ServiceClass, dict[Account, TenantQueue]] = {s: {} for s in ServiceClass}
        self._floors = Floors()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Sequence]:
        for queues in self._queues.values():
            for queue in queues.values():
                yield from (sequence for _, sequence in queue)

    def counts(self) -> tuple[int, ...]:
        """How many wait in each class."""
        if not self._size:
            return NOBODY
        return tuple(sum(map(len, queues.values())) for queues in self._queues.values())

    @property
    def tenants(self) -> int:
        """How many accounts are kept, one for a tenant in each class."""
        return sum(map(len, self._accounts.values()))

    def accounts(self, service: ServiceClass) -> Iterator[Account]:
        """The accounts of every tenant that was lately served in the class."""
        return iter(self._accounts[service])

    def add(self, sequence: Sequence) -> None:
        """A new sequence, or one that was preempted."""
        if not sequence.awaits_prefill:
            sequence.account = self._accounts[sequence.service].enter(sequence.fairness_key)
            sequence.awaits_prefill = True
        assert sequence.account is not None
        queue = self._queues[sequence.service].setdefault(sequence.account, [])
        heapq.heappush(queue, ((sequence.request.priority, sequence.order), sequence))
        self._size += 1

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out: it is admitted, deferred, or gone."""
        assert sequence.account is not None
        queues = self._queues[sequence.service]
        queue = queues[sequence.account]
        if queue[0][1] is sequence:
            heapq.heappop(queue)
        else:
            queue.remove(((sequence.request.priority, sequence.order), sequence))
            heapq.heapify(queue)
        if not queue:
            del queues[sequence.account]
        self._size -= 1

    def next(self) -> Sequence | None:
        """The sequence whose turn it is: of a lower class that is due, else of the highest class;
        in the class of the tenant with the lowest account. It stays in the queue."""
        waiting = self._services()
        due = [service for service in waiting[1:] if self._floors.is_due(service)]
        for service in (*reversed(due), *waiting):
            queues = self._queues[service]
            account = min(queues, key=lambda account: (account.promised, queues[account][0][0]))
            return queues[account][0][1]
        return None

    def smallest_behind(self, first: Sequence) -> Sequence | None:
        """The shortest sequence of the same tenant, class and priority, if it is shorter than what
        `first` has not yet been overtaken by: who waits for a large place lets small ones pass,
        together at most as many tokens as it has itself."""
        assert first.account is not None
        priority, left = first.request.priority, first.pending - first.overtaken
        others = (
            sequence
            for (rank, _), sequence in self._queues[first.service][first.account]
            if rank == priority and sequence is not first and sequence.pending <= left
        )
        return min(others, key=lambda other: (other.pending, other.order), default=None)

    def admit(self, sequence: Sequence) -> None:
        """Take a sequence out and reserve what it may cost; its KV is claimed already."""
        self.remove(sequence)
        waiting = self._services()
        if any(service < sequence.service for service in waiting):
            sequence.is_promoted = True
        amount = sequence.pending + min(sequence.tokens_left, RESERVED_DECODE_MAX)
        self._floors.take(sequence.service, amount, waiting)
        assert sequence.account is not None
        sequence.reserved = amount
        sequence.account.reserved += amount

    def prefilled(self, sequence: Sequence) -> None:
        """The sequence's prompt is computed, or will not be."""
        if sequence.awaits_prefill and sequence.account is not None:
            sequence.awaits_prefill = False
            self._accounts[sequence.service].leave(sequence.account)

    def settle(self, sequence: Sequence) -> None:
        """The sequence has ended or was preempted: give back the rest of its reservation."""
        if sequence.account is not None:
            sequence.account.reserved -= sequence.reserved
        sequence.reserved = 0.0
        self.prefilled(sequence)

    def check(self, running: Iterable[Sequence]) -> None:
        """Raise AssertionError if a sequence or a reservation is lost or counted twice."""
        waiting, running = list(self), list(running)
        assert len(waiting) == self._size, "the size of the queue is wrong"
        for sequence in waiting:
            assert sequence.awaits_prefill and sequence.reserved == 0, "waits with a reservation"
        for service, accounts in self._accounts.items():
            accounts.check(
                (sequence.account, sequence.awaits_prefill, sequence.reserved)
                for sequence in (*waiting, *running)
                if sequence.service is service and sequence.account is not None
            )

    def _services(self) -> list[ServiceClass]:
        return [service for service in ServiceClass if self._queues[service]]


def charge(sequence: Sequence, tokens: int) -> None:
    """Charge the sequence's tenant for tokens that were computed."""
    account = sequence.account
    if account is not None:
        paid = min(sequence.reserved, tokens)
        account.served += tokens
        account.reserved -= paid
        sequence.reserved -= paid
