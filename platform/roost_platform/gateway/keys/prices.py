"""What a call costs: a bound of it before it runs, what was produced after it."""

import math
import time
from dataclasses import dataclass, field, replace

from roost_platform.gateway.config import PriceConfig
from roost_platform.gateway.events import Usage
from roost_platform.gateway.keys.ports import GatewayKey, Outcome, Reservation, Spent
from roost_platform.gateway.request import ModelRequest
from roost_platform.gateway.routing.catalogue import RoutedModel, Target
from roost_platform.gateway.routing.router import CallTrace

BYTES_PER_TOKEN = 4  # of a prompt whose tokens nobody has counted yet
FREE = PriceConfig()


@dataclass(slots=True)
class Prices:
    """The price of each target, in millionths of a US dollar.

    known: by `provider/model`; a target's own price counts more.
    """

    known: dict[str, PriceConfig] = field(default_factory=dict)

    def of(self, target: Target) -> PriceConfig:
        """The price of a target; nothing for those that nobody has priced."""
        return target.price or self.known.get(target.name, FREE)

    def bounded(self, request: ModelRequest, model: RoutedModel, key: GatewayKey) -> ModelRequest:
        """The request with a bound of its output, which a budget needs."""
        if not key.has_budget or request.max_tokens is not None:
            return request
        most = model.config.max_output_tokens
        return replace(request, max_tokens=most, body={**request.body, "max_tokens": most})

    def reservation(
        self, call_id: str, request: ModelRequest, model: RoutedModel, key: GatewayKey
    ) -> Reservation:
        """The most that this call may use, over all targets that may answer it."""
        prompt = estimated_tokens(request.prompt_bytes)
        output = (request.max_tokens or model.config.max_output_tokens) * request.n
        prices = [self.of(target) for target in model.targets] or [FREE]
        cost = max(_cost(price, prompt, 0, output) for price in prices)
        return Reservation(
            call_id=call_id,
            key_id=key.id,
            family=request.family,
            model=model.name,
            tokens=prompt + output,
            cost_microusd=math.ceil(cost),
            person=request.person,
            session=request.session,
        )

    def spent(
        self, call_id: str, trace: CallTrace, outcome: Outcome, status: int, code: str
    ) -> Spent:
        """What was used. Where the provider has not counted, by what has come of the answer."""
        usage = trace.usage or _estimated(trace)
        price = self.of(trace.target) if trace.target else FREE
        cost = _cost(price, usage.input_tokens, usage.cached_tokens, usage.output_tokens)
        ended = time.monotonic()
        return Spent(
            call_id=call_id,
            outcome=outcome,
            status=status,
            target=trace.target.name if trace.target else trace.model,
            error_code=code,
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            output_tokens=usage.output_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            saved_tokens=trace.saved_tokens,
            cost_microusd=math.ceil(cost),
            ttft_ms=None if trace.first is None else (trace.first - trace.started) * 1000,
            duration_ms=(ended - trace.started) * 1000,
            tries=tuple(trace.tries),
        )


def _estimated(trace: CallTrace) -> Usage:
    """What a provider that was cut off has produced."""
    if trace.first is None:
        return Usage()
    return Usage(
        input_tokens=estimated_tokens(trace.prompt_bytes),
        output_tokens=estimated_tokens(trace.produced_bytes),
    )


def estimated_tokens(size: int) -> int:
    """Tokens of so many bytes of text."""
    return math.ceil(size / BYTES_PER_TOKEN)


def _cost(price: PriceConfig, prompt: int, cached: int, output: int) -> float:
    """Millionths of a dollar: prices are dollars for a million tokens."""
    of_cached = price.input if price.cached is None else price.cached
    fresh = max(prompt - cached, 0)
    return fresh * price.input + cached * of_cached + output * price.output
