"""One request on its way: the engine that answers it, and the offer that it takes along."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from roost_inference.client.routing.engines import RoutedEngine
from roost_inference.client.routing.lease import Lease
from roost_inference.client.routing.prefixes import PromptChain
from roost_inference.errors import (
    EngineError,
    EngineFailed,
    EngineRefused,
    EngineUnavailable,
    QueueFull,
)

# Another engine may do better; what is the request's own fault fails there, too.
ELSEWHERE: Final = (EngineUnavailable, EngineFailed, EngineRefused, QueueFull)


@dataclass(frozen=True, slots=True)
class RoutedCall:
    """A chat request: its body in OpenAI's form, and the session that it belongs to."""

    body: Mapping[str, Any]
    session_id: str | None = None


@dataclass(slots=True, eq=False)
class Route:
    """The way of one try. lease: of the KV that a prefill engine offers, None without one.

    has_begun: the engine has sent a part of the answer.
    """

    engine: RoutedEngine
    chain: PromptChain
    lease: Lease | None = None
    has_begun: bool = False
    prompt_tokens: int = 0
    written_tokens: int = 0
    _has_left: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.engine.in_flight += 1
        self.engine.health.begin()

    @property
    def params(self) -> Mapping[str, Any]:
        """The kv_transfer_params that the request takes along; empty for none."""
        return {} if self.lease is None else self.lease.offer.params

    def begun(self) -> None:
        """The first part of the answer has come, so the engine has the KV it wanted."""
        self.has_begun = True
        self.engine.health.worked()
        if self.lease is not None:
            self.lease.taken()

    def used(self, prompt_tokens: int, written_tokens: int) -> None:
        """The answer has ended, and this is what it took."""
        self.prompt_tokens, self.written_tokens = prompt_tokens, written_tokens

    def failed(self, error: EngineError) -> None:
        """The engine has failed in this way."""
        is_its_fault = isinstance(error, ELSEWHERE) and not isinstance(error, QueueFull)
        if is_its_fault:
            self.engine.health.failed(error.message)

    def leave(self) -> None:
        """The try is over, in whatever way. An offer that nobody has taken is given back."""
        if self._has_left:
            return
        self._has_left = True
        self.engine.in_flight -= 1
        self.engine.health.left()
        if self.lease is not None:
            self.lease.release()
