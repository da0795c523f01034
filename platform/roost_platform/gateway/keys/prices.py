"""What a call costs: the most of it before it runs, what was produced after it.

Money is counted in whole millionths of a US dollar, rounded up once for each call; prices in whole
trillionths of a dollar for a token, so that no sum has a fraction of binary numbers in it.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import lru_cache
from typing import Final

from roost_inference.errors import UnknownModel
from roost_platform.gateway.config import BUNDLED, PriceConfig, TieredPrice
from roost_platform.gateway.events import Usage
from roost_platform.gateway.keys.estimates import PromptEstimates, prompt_size
from roost_platform.gateway.keys.ports import GatewayKey, Outcome, Reservation, Spent
from roost_platform.gateway.request import ModelRequest
from roost_platform.gateway.routing.catalogue import Catalogue, RoutedModel, Target
from roost_platform.gateway.routing.router import CallTrace
from roost_platform.gateway.sizes import PromptSize

BYTES_PER_TOKEN: Final = 4  # of an answer that nobody has counted
FREE: Final = PriceConfig()
KNOWN_MAX: Final = 4096  # prices that were looked up
TOKENS_MAX: Final = 10**12  # of one call; what a provider counts beyond is no count
MICROUSD_MAX: Final = 10**15  # of one call: a thousand million dollars, which databases can add up
PICO: Final = 10**6  # trillionths in a millionth
SHARE: Final = 4  # of a budget that no call of the model's own bound fits into


@dataclass(slots=True)
class Prices:
    """The price of each target. known: by `provider/model`; a target's own price counts more.

    look_up: the price of a hosted target that the settings do not price. catalogue: where a
    model's fallbacks are found, which may answer in its place.
    """

    known: dict[str, PriceConfig] = field(default_factory=dict)
    look_up: Callable[[str, str], PriceConfig | None] | None = None
    catalogue: Catalogue | None = None
    estimates: PromptEstimates = field(default_factory=PromptEstimates)

    def of(self, target: Target) -> PriceConfig:
        """The price of a target; nothing for those that nobody has priced."""
        if target.price is not None:
            return target.price
        name = target.name
        found = self.known.get(name)
        if found is None:
            if self.look_up is not None and target.provider.name != BUNDLED:
                found = self.look_up(target.provider.name, target.model)
            found = found or FREE
            if len(self.known) < KNOWN_MAX:
                self.known[name] = found
        return found

    def bounded(self, request: ModelRequest, model: RoutedModel, key: GatewayKey) -> ModelRequest:
        """The request with a bound of its output, which a budget needs: the model's.

        Where one such call is more than the whole budget, no call would ever be let in; the bound
        is then a quarter of what the budget has beside the prompt.
        """
        if not key.has_budget or request.max_tokens is not None:
            return request
        most = model.config.max_output_tokens
        if model.config.context_tokens is not None:
            most = min(most, model.config.context_tokens)
        size = prompt_size(request)
        for target in self._may_answer(model):
            prompt = self._prompt_tokens(target, size)
            most = min(most, self._within(key, self.of(target), prompt, most, request.n))
        return replace(request, max_tokens=most, body={**request.body, "max_tokens": most})

    def _within(self, key: GatewayKey, price: PriceConfig, prompt: int, most: int, n: int) -> int:
        """A bound of the output that fits into the whole budget of the key."""
        bound = most
        if key.budget_tokens is not None and prompt + most * n > key.budget_tokens:
            bound = min(bound, (key.budget_tokens - prompt) // (SHARE * n))
        if key.budget_microusd is not None:
            room = key.budget_microusd * PICO - _pico(price, Usage(prompt))
            of_all = _pico(price, Usage(prompt, output_tokens=most * n)) - _pico(
                price, Usage(prompt)
            )
            if of_all > room:
                bound = min(bound, room * most // (SHARE * of_all))
        return max(1, bound)

    def reservation(
        self, call_id: str, request: ModelRequest, model: RoutedModel, key: GatewayKey
    ) -> Reservation:
        """The most that this call may use, over all targets that may answer it."""
        most = (request.max_tokens or model.config.max_output_tokens) * request.n
        output = min(most, TOKENS_MAX)
        prompt, cost = 1, 0
        size = prompt_size(request)
        for target in self._may_answer(model):
            of_target = self._prompt_tokens(target, size)
            written = of_target if size.writes_cache else 0
            usage = Usage(of_target, cache_write_tokens=written, output_tokens=output)
            prompt = max(prompt, of_target)
            cost = max(cost, _microusd(self.of(target), usage))
        return replace(
            unpriced(call_id, request, key),
            model=model.name,
            tokens=min(prompt + output, TOKENS_MAX),
            cost_microusd=min(cost, MICROUSD_MAX),
        )

    def _prompt_tokens(self, target: Target, size: PromptSize) -> int:
        """A provider with OpenAI's wire reads a prompt once for all answers; others once for each,
        and so does the bundled core. Embeddings have no answers, and are read once as well.
        """
        reads_once = target.provider.wire == "openai" and target.provider.name != BUNDLED
        prompts = 1 if reads_once else max(size.n, 1)
        return self.estimates.tokens(target.name, size, prompts=prompts)

    def _may_answer(self, model: RoutedModel) -> Iterator[Target]:
        """The targets of the model and of those that stand in for it."""
        pending, seen = [model], {model.name}
        while pending:
            one = pending.pop()
            yield from one.targets
            for name in (*one.config.fallbacks, *one.config.longer):
                if self.catalogue is not None and name not in seen:
                    seen.add(name)
                    try:
                        pending.append(self.catalogue.find(name))
                    except UnknownModel:
                        continue

    def spent(
        self, call_id: str, trace: CallTrace, outcome: Outcome, status: int, code: str
    ) -> Spent:
        """What was used. Where the provider has not counted, by what has come of the answer."""
        usage = self._usage(trace)
        price = self.of(trace.target) if trace.target else FREE
        ended = time.monotonic()
        return Spent(
            call_id=call_id,
            outcome=outcome,
            status=status,
            target=trace.target_name,
            error_code=code,
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            output_tokens=usage.output_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            saved_tokens=trace.saved_tokens,
            cost_microusd=min(_microusd(price, usage), MICROUSD_MAX),
            ttft_ms=None if trace.first is None else (trace.first - trace.started) * 1000,
            duration_ms=(ended - trace.started) * 1000,
            tries=tuple(trace.tries),
        )

    def _usage(self, trace: CallTrace) -> Usage:
        """What the provider has counted, which is learnt from. Where it has not counted all that
        came of the answer: what it seems to have read and written.
        """
        usage = _sensible(trace.counted)
        target = trace.target if trace.size.messages > 0 else None
        if target is not None and usage.input_tokens > 0:
            self.estimates.learn(target.name, trace.size, usage.input_tokens)
        if trace.produced_bytes == 0 and not trace.is_embedded:
            return usage  # providers send the head of an answer before they have read the prompt
        read = estimated_tokens(trace.prompt_bytes)
        if target is not None and usage.input_tokens == 0:
            read = self.estimates.tokens(target.name, trace.size)
        return with_estimates(usage, read, trace.produced_bytes)


def unpriced(call_id: str, request: ModelRequest, key: GatewayKey) -> Reservation:
    """The call as its row names it, with nothing held."""
    return Reservation(
        call_id=call_id,
        key_id=key.id,
        family=request.family,
        model=request.model,
        tokens=0,
        cost_microusd=0,
        person=request.person,
        session=request.session,
        secret_hash=key.secret_hash,
    )


def estimated_tokens(size: int) -> int:
    """Tokens of so many bytes of text."""
    return math.ceil(size / BYTES_PER_TOKEN)


def with_estimates(usage: Usage, read: int, produced_bytes: int) -> Usage:
    """The counts of an answer of so many bytes. Some providers leave counts out, or send zeros."""
    return replace(
        usage,
        input_tokens=usage.input_tokens or read,
        output_tokens=usage.output_tokens or estimated_tokens(produced_bytes),
    )


def _sensible(usage: Usage) -> Usage:
    """The counts within bounds, parts of the prompt within the prompt."""
    read = _within_bounds(usage.input_tokens)
    cached = min(_within_bounds(usage.cached_tokens), read)
    return replace(
        usage,
        input_tokens=read,
        cached_tokens=cached,
        cache_write_tokens=min(_within_bounds(usage.cache_write_tokens), read - cached),
        output_tokens=_within_bounds(usage.output_tokens),
        reasoning_tokens=_within_bounds(usage.reasoning_tokens),
    )


def _within_bounds(count: int) -> int:
    return min(max(count, 0), TOKENS_MAX)


def _microusd(price: PriceConfig, usage: Usage) -> int:
    """Millionths of a dollar, rounded up."""
    return -(-_pico(price, usage) // PICO)


def _pico(price: PriceConfig, usage: Usage) -> int:
    """Trillionths of a dollar."""
    if price is FREE:
        return 0
    while isinstance(price, TieredPrice) and usage.input_tokens > price.above_tokens:
        price = price.above
    read, cached, written, output = _units(price)
    fresh = max(usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens, 0)
    prompt = fresh * read + usage.cached_tokens * cached + usage.cache_write_tokens * written
    return prompt + usage.output_tokens * output


@lru_cache(maxsize=KNOWN_MAX)
def _units(price: PriceConfig) -> tuple[int, int, int, int]:
    """Trillionths of a dollar for a token: a dollar for a million tokens is a million of them."""
    cached = price.input if price.cached is None else price.cached
    written = price.input if price.cache_write is None else price.cache_write
    read, kept, wrote, output = (
        round(Decimal(str(one)) * PICO) for one in (price.input, cached, written, price.output)
    )
    return read, kept, wrote, output
