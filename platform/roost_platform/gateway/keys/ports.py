"""What the door needs of storage: whose key it is, what a call may use, what it has used."""

from dataclasses import dataclass
from typing import Literal, Protocol

Outcome = Literal["ok", "cancelled", "failed", "refused", "lost"]
KEY_PREFIX = "sk-roost-"  # secret scanners recognise keys by it


@dataclass(frozen=True, slots=True)
class GatewayKey:
    """A key of the gateway, without its secret. models: those it may use, empty for all.

    salt: separates cached prefixes of its calls from those of others. compress: as in the settings
    of a model.
    """

    id: str
    name: str
    models: tuple[str, ...] = ()
    salt: str = ""
    compress: bool = False
    has_budget: bool = False

    def may_use(self, model: str) -> bool:
        """Whether this key may name this model."""
        return not self.models or model in self.models


@dataclass(frozen=True, slots=True)
class Reservation:
    """The most that a call may use. cost_microusd: millionths of a US dollar."""

    call_id: str
    key_id: str
    family: str
    model: str
    tokens: int
    cost_microusd: int
    person: str = ""
    session: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a call has used, and what became of it. ttft_ms: until the first byte, None for none.

    tries: each target that was asked, with the code of its error. saved_tokens: of the prompt, by
    compressing it.
    """

    call_id: str
    outcome: Outcome
    status: int
    target: str = ""
    error_code: str = ""
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    saved_tokens: int = 0
    cost_microusd: int = 0
    ttft_ms: float | None = None
    duration_ms: float = 0.0
    tries: tuple[tuple[str, str], ...] = ()


class CallLog(Protocol):
    """Where calls without a key are counted."""

    async def record(self, wanted: Reservation, spent: Spent) -> None:
        """Keep the row of a call that has ended and had nothing reserved."""
        ...


class KeyStore(Protocol):
    """Keys and their budgets."""

    async def find(self, secret: str) -> GatewayKey:
        """The key of this secret. Raises Unauthorized, KeyRevoked or KeyExpired."""
        ...

    async def reserve(self, wanted: Reservation) -> None:
        """Hold what a call may use, in one statement that counts all calls of the key.

        Raises KeyRevoked, KeyExpired, BudgetExhausted or RateLimited; nothing is held then.
        """
        ...

    async def settle(self, spent: Spent) -> None:
        """Replace what is held by what was used. A second settling of one call changes nothing."""
        ...
