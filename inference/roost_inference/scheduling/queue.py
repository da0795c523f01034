"""The queue: sequences by class and tenant, and which of them is next."""

import heapq
from collections.abc import Iterable, Iterator

from roost_inference.request import ServiceClass
from roost_inference.scheduling.fairness import RESERVED_DECODE_MAX, Accounts, Floors
from roost_inference.sequence import Account, Sequence

# A tenant's waiting sequences, by priority and arrival.
Line = list[tuple[tuple[int, int], Sequence]]
NOBODY = (0,) * len(ServiceClass)


class WaitingLine:
    """Everything that waits, and the accounts of everybody who is served."""

    def __init__(self) -> None:
        self._accounts = {service: Accounts() for service in ServiceClass}
        self._lines: dict[ServiceClass, dict[Line]] = {s: {} for s in ServiceClass}
        self._floors = Floors()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Sequence]:
        for lines in self._lines.values():
            for line in lines.values():
                yield from (sequence for _, sequence in line)

    def counts(self) -> tuple[int, ...]:
        """How many wait in each class."""
        if not self._size:
            return NOBODY
        return tuple(sum(map(len, lines.values())) for lines in self._lines.values())

    @property
    def tenants(self) -> int:
        """How many accounts are kept, one for a tenant in each class."""
        return sum(map(len, self._accounts.values()))

    def accounts(self, service: ServiceClass) -> Iterator[Account]:
        """Of everybody who was served in the class of late."""
        return iter(self._accounts[service])

    def add(self, sequence: Sequence) -> None:
        """A new sequence, or one that was preempted."""
        if not sequence.wants:
            sequence.account = self._accounts[sequence.service].want(sequence.tenant)
            sequence.wants = True
        assert sequence.account is not None
        line = self._lines[sequence.service].setdefault(sequence.account, [])
        heapq.heappush(line, ((sequence.request.priority, sequence.order), sequence))
        self._size += 1

    def take(self, sequence: Sequence) -> None:
        """Out of the queue, to be admitted, put back, or because it is gone."""
        assert sequence.account is not None
        lines = self._lines[sequence.service]
        line = lines[sequence.account]
        if line[0][1] is sequence:
            heapq.heappop(line)
        else:
            line.remove(((sequence.request.priority, sequence.order), sequence))
            heapq.heapify(line)
        if not line:
            del lines[sequence.account]
        self._size -= 1

    def next(self) -> Sequence | None:
        """The one whose turn it is: of a lower class that is due, else of the highest; there of
        the tenant with the lowest account. It stays in the queue."""
        waiting = self._services()
        due = [service for service in waiting[1:] if self._floors.is_due(service)]
        for service in (*reversed(due), *waiting):
            lines = self._lines[service]
            account = min(lines, key=lambda account: (account.promised, lines[account][0][0]))
            return lines[account][0][1]
        return None

    def admit(self, sequence: Sequence, context_length: int) -> None:
        """Take it out and reserve what it may cost; its KV is claimed already."""
        self.take(sequence)
        waiting = self._services()
        sequence.carried = sequence.carried or any(s < sequence.service for s in waiting)
        amount = sequence.pending + min(sequence.room(context_length), RESERVED_DECODE_MAX)
        self._floors.take(sequence.service, amount, waiting)
        assert sequence.account is not None
        sequence.reserved = amount
        sequence.account.reserved += amount

    def read(self, sequence: Sequence) -> None:
        """The sequence has read its prompt."""
        if sequence.wants and sequence.account is not None:
            sequence.wants = False
            self._accounts[sequence.service].content(sequence.account)

    def settle(self, sequence: Sequence) -> None:
        """The sequence has ended or was preempted: give back the rest of its reservation."""
        if sequence.account is not None:
            sequence.account.reserved -= sequence.reserved
        sequence.reserved = 0.0
        self.read(sequence)

    def check(self, running: Iterable[Sequence]) -> None:
        """Raise AssertionError if a sequence or a reservation is lost or counted twice."""
        waiting, running = list(self), list(running)
        assert len(waiting) == self._size, "the size of the queue is wrong"
        for sequence in waiting:
            assert sequence.wants and sequence.reserved == 0, "waits with a reservation"
        for service, accounts in self._accounts.items():
            accounts.check(
                (sequence.account, sequence.wants, sequence.reserved)
                for sequence in (*waiting, *running)
                if sequence.service is service and sequence.account is not None
            )

    def _services(self) -> list[ServiceClass]:
        return [service for service in ServiceClass if self._lines[service]]


def charge(sequence: Sequence, tokens: int) -> None:
    """So many of its tokens were computed."""
    account = sequence.account
    if account is not None:
        paid = min(sequence.reserved, tokens)
        account.served += tokens
        account.reserved -= paid
        sequence.reserved -= paid
