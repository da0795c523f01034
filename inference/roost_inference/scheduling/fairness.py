"""Whose turn it is: tenants by the tokens they were served, and a floor for the lower classes.

Every tenant has an account in each class. It counts prompt tokens that were computed and tokens
that were generated; tokens that come from the KV are free. What a sequence may cost is reserved
when it is admitted and charged as it is computed. The rest of the reservation is given back when
the sequence ends, however it ends. The tenant with the lowest account goes next. So between two
tenants that both want to be served the difference stays within a quantum and a request.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from roost_inference.request import ServiceClass
from roost_inference.sequence import Account

# What a waiting class earns of each token that the classes before it take, and what it must have
# earned to go before them. A class that never waits for others earns nothing.
FLOOR = 0.1
TURN_TOKENS = 64
EARNED_TOKENS_MAX = 65536
# A tenant keeps its turn until it is so far ahead: of two long prompts that take turns both end
# late.
QUANTUM_TOKENS = 512
# At most this many of the tokens that a request may generate are reserved: most clients ask for as
# many as the context allows.
RESERVED_DECODE_MAX = 256
# A tenant that comes back owes at most this, however much it was served while it was alone.
DEBT_TOKENS_MAX = 8192
# So many idle tenants are remembered, those that left last.
TENANTS_MAX = 1024


class ClassAccounts:
    """The accounts of one class."""

    def __init__(self) -> None:
        self._active: dict[str, Account] = {}
        self._idle: OrderedDict[str, Account] = OrderedDict()
        self._level = 0.0

    def __len__(self) -> int:
        return len(self._active) + len(self._idle)

    def __iter__(self) -> Iterator[Account]:
        yield from self._active.values()
        yield from self._idle.values()

    def enter(self, fairness_key: str) -> Account:
        """A sequence of the tenant begins to wait. A tenant that was idle starts level with the
        lowest: it has saved nothing up, and what it owes is bounded."""
        account = self._active.get(fairness_key)
        if account is None:
            account = self._idle.pop(fairness_key, None) or Account(fairness_key)
            level = min((a.served for a in self._active.values()), default=self._level)
            account.served = min(max(account.served, level), level + DEBT_TOKENS_MAX)
            self._active[fairness_key] = account
        account.prefilling += 1
        return account

    def leave(self, account: Account) -> None:
        """A sequence of the tenant has its prompt computed, or is gone."""
        account.prefilling -= 1
        if account.prefilling:
            return
        del self._active[account.fairness_key]
        self._level = max(self._level, account.served)
        self._idle[account.fairness_key] = account
        if len(self._idle) > TENANTS_MAX:
            # If it still decodes, the rest of its reservation is lost; nothing depends on it.
            self._idle.popitem(last=False)

    def check(self, live: Iterable[tuple[Account, bool, float]]) -> None:
        """Raise AssertionError unless the accounts are those of the sequences, each given as its
        account, whether it awaits its prefill, and its reservation."""
        prefilling: dict[str, int] = {}
        reserved: dict[int, float] = {}
        for account, awaits_prefill, amount in live:
            if awaits_prefill:
                prefilling[account.fairness_key] = prefilling.get(account.fairness_key, 0) + 1
            reserved[id(account)] = reserved.get(id(account), 0.0) + amount
        counted = {key: account.prefilling for key, account in self._active.items()}
        assert counted == prefilling, "a sequence that awaits its prefill leaked"
        for account in self:
            expected = reserved.get(id(account), 0.0)
            assert abs(account.reserved - expected) < 1e-6, "a reservation leaked"
        assert len(self._idle) <= TENANTS_MAX, "too many tenants are remembered"


class Floors:
    """Tokens that the classes have earned while other classes went before them."""

    def __init__(self) -> None:
        self._earned = [0.0] * len(ServiceClass)

    def is_due(self, service: ServiceClass) -> bool:
        """Whether the class has earned to go before those above it."""
        return self._earned[service] >= TURN_TOKENS

    def take(self, service: ServiceClass, tokens: float, waiting: Iterable[ServiceClass]) -> None:
        """A class is served while the classes in `waiting` wait: the lower ones earn, and the
        class itself pays if it went before a higher one."""
        waiting = tuple(waiting)
        for other in ServiceClass:
            if other > service and other in waiting:
                earned = self._earned[other] + FLOOR * tokens
                self._earned[other] = min(earned, EARNED_TOKENS_MAX)
            elif other not in waiting and other != service:
                self._earned[other] = min(self._earned[other], 0.0)
        if any(other < service for other in waiting):
            self._earned[service] -= tokens
