"""Whose turn it is: tenants by the tokens they were served, and a floor for the lower classes.

Every tenant has an account in each class, of prompt tokens that were computed and tokens that were
generated; what comes from the KV is free. What a sequence may cost is reserved when it is admitted
and charged as it is computed; the rest of the reservation is given back when it ends, however it
ends. The tenant with the lowest account goes next, so between two that both want to be served the
difference stays within a quantum and a request.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from roost_inference.request import ServiceClass
from roost_inference.sequence import Account

# What a class earns of each token that those before it take while it waits, and what it must have
# earned to go before them. One that never waits for others earns nothing.
FLOOR = 0.1
TURN_TOKENS = 64
EARNED_TOKENS_MAX = 65536
# A tenant keeps reading prompts until it is so far ahead: two long prompts by turns end late both.
QUANTUM_TOKENS = 512
# Of the tokens a request may generate so many are reserved: most clients ask for all there is room.
RESERVED_DECODE_MAX = 256
# A tenant that comes back owes at most this, however much it was served while nobody else wanted.
DEBT_TOKENS_MAX = 8192
# Tenants that want nothing are remembered in this number, those that left last.
TENANTS_MAX = 1024


class Accounts:
    """The accounts of one class."""

    def __init__(self) -> None:
        self._wanting: dict[str, Account] = {}
        self._others: OrderedDict[str, Account] = OrderedDict()
        self._level = 0.0

    def __len__(self) -> int:
        return len(self._wanting) + len(self._others)

    def __iter__(self) -> Iterator[Account]:
        yield from self._wanting.values()
        yield from self._others.values()

    def want(self, tenant: str) -> Account:
        """A sequence of the tenant begins to wait. One that wanted nothing until now starts level
        with the lowest: it has saved nothing up, and what it owes is bounded."""
        account = self._wanting.get(tenant)
        if account is None:
            account = self._others.pop(tenant, None) or Account(tenant)
            level = min((a.served for a in self._wanting.values()), default=self._level)
            account.served = min(max(account.served, level), level + DEBT_TOKENS_MAX)
            self._wanting[tenant] = account
        account.wanting += 1
        return account

    def content(self, account: Account) -> None:
        """A sequence of the tenant has read its prompt, or is gone."""
        account.wanting -= 1
        if account.wanting:
            return
        del self._wanting[account.tenant]
        self._level = max(self._level, account.served)
        self._others[account.tenant] = account
        if len(self._others) > TENANTS_MAX:
            # one that still writes is owed the rest of its reservation, but nothing hangs on it
            self._others.popitem(last=False)

    def check(self, live: Iterable[tuple[Account, bool, float]]) -> None:
        """Raise AssertionError unless the accounts are those of the sequences, each given as its
        account, whether it waits or reads, and its reservation."""
        wanting: dict[str, int] = {}
        reserved: dict[int, float] = {}
        for account, wants, amount in live:
            if wants:
                wanting[account.tenant] = wanting.get(account.tenant, 0) + 1
            reserved[id(account)] = reserved.get(id(account), 0.0) + amount
        assert {t: a.wanting for t, a in self._wanting.items()} == wanting, "wanting leaked"
        for account in self:
            expected = reserved.get(id(account), 0.0)
            assert abs(account.reserved - expected) < 1e-6, "a reservation leaked"
        assert len(self._others) <= TENANTS_MAX, "too many tenants are remembered"


class Floors:
    """What the classes have earned while others went before them, in tokens."""

    def __init__(self) -> None:
        self._earned = [0.0] * len(ServiceClass)

    def is_due(self, service: ServiceClass) -> bool:
        return self._earned[service] >= TURN_TOKENS

    def take(self, service: ServiceClass, tokens: float, waiting: Iterable[ServiceClass]) -> None:
        """The class is served while the classes in `waiting` wait: those below it earn, and it
        pays if it went before one above."""
        waiting = tuple(waiting)
        for other in ServiceClass:
            if other > service and other in waiting:
                earned = self._earned[other] + FLOOR * tokens
                self._earned[other] = min(earned, EARNED_TOKENS_MAX)
            elif other not in waiting and other != service:
                self._earned[other] = min(self._earned[other], 0.0)
        if any(other < service for other in waiting):
            self._earned[service] -= tokens
