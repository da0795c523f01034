"""What the door needs of storage: whose key it is, what a call may use, what it has used."""

from dataclasses import dataclass, field
from typing import Literal, Protocol

from roost_inference.errors import EngineError

Outcome = Literal["ok", "cancelled", "failed", "refused", "lost"]
KEY_PREFIX = "sk-roost-"  # secret scanners recognise keys by it
ANY_OF = "/*"  # behind a provider's name, in what a key may use


@dataclass(frozen=True, slots=True)
class GatewayKey:
    """A key of the gateway, without its secret. models: those it may use, empty for all;
    `provider/*` is every model of that provider.

    salt: separates cached prefixes of its calls from those of others. compress: as in the settings
    of a model. secret_hash: of the secret by which it was found, which a rotation ends.
    """

    id: str
    name: str
    models: tuple[str, ...] = ()
    salt: str = ""
    compress: bool = False
    has_budget: bool = False
    budget_microusd: int | None = None
    budget_tokens: int | None = None
    secret_hash: str = field(default="", repr=False)

    def may_use(self, model: str) -> bool:
        """Whether this key may name this model."""
        if not self.models or model in self.models:
            return True
        return any(one.endswith(ANY_OF) and model.startswith(one[:-1]) for one in self.models)


@dataclass(frozen=True, slots=True)
class Reservation:
    """The most that a call may use. cost_microusd: millionths of a US dollar.

    secret_hash: as in GatewayKey; empty asks only that the key is alive.
    """

    call_id: str
    key_id: str
    family: str
    model: str
    tokens: int
    cost_microusd: int
    person: str = ""
    session: str = ""
    agent: str = ""
    secret_hash: str = field(default="", repr=False)


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
    cache_write_tokens: int = 0
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

        Raises KeyRevoked, KeyExpired, BudgetExhausted or RateLimited; nothing is held then, and
        the refusal is counted.
        """
        ...

    async def refuse(self, wanted: Reservation, error: EngineError) -> None:
        """Count a call of a known key that was refused before it reserved anything."""
        ...

    async def settle(self, spent: Spent) -> None:
        """Replace what is held by what was used. A second settling of one call changes nothing."""
        ...

    def settle_at_once(self, spent: Spent) -> bool:
        """The same without any wait; False where storage can't, and `settle` has to wait for it."""
        ...
