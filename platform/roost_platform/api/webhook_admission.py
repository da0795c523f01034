"""Who may call a webhook: not an address that sent many without a good proof, for a while.

A proof is checked over the whole body, which costs milliseconds; strangers could send as many as
they like. Providers call from few addresses, often in bursts, so good proofs are never counted.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from roost_platform.identity.login_failures import client_network

FAILURES_MAX = 20  # bad proofs of one address in a window, then its calls are refused unread
WINDOW_S = 10.0
PROVEN_S = 24 * 3600.0  # an address with a good proof this recently is never refused
ADDRESSES_MAX = 4096  # of each kind; those seen least recently are forgotten

UNPROVEN = frozenset({401, 403})

Value = TypeVar("Value")


@dataclass(slots=True)
class WebhookAdmission:
    """What each address proved lately. `clock` gives seconds that never go back."""

    clock: Callable[[], float]
    _failures: OrderedDict[str, tuple[float, int]] = field(default_factory=OrderedDict, init=False)
    _proven: OrderedDict[str, float] = field(default_factory=OrderedDict, init=False)

    def wait_s(self, ip: str) -> float:
        """How long calls of this address are still refused; 0 if they are taken."""
        since, count = self._failures.get(client_network(ip), (0.0, 0))
        return max(0.0, since + WINDOW_S - self.clock()) if count >= FAILURES_MAX else 0.0

    def note(self, ip: str, status: int) -> None:
        """Note how a call of this address was answered."""
        address, now = client_network(ip), self.clock()
        if status < 400:
            self._failures.pop(address, None)
            _keep(self._proven, address, now)
        elif status in UNPROVEN and now - self._proven.get(address, -PROVEN_S) >= PROVEN_S:
            since, count = self._failures.get(address, (now, 0))
            fresh = (since, count + 1) if now - since < WINDOW_S else (now, 1)
            _keep(self._failures, address, fresh)


def _keep(table: OrderedDict[str, Value], address: str, value: Value) -> None:
    table[address] = value
    table.move_to_end(address)
    if len(table) > ADDRESSES_MAX:
        table.popitem(last=False)
