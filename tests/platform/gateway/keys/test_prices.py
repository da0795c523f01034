"""What calls cost: exact sums, prices of the settings before known ones, bounds under a budget."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from roost_platform.gateway.config import (
    BUNDLED,
    GatewayConfig,
    ModelConfig,
    PriceConfig,
    ProviderConfig,
    TieredPrice,
)
from roost_platform.gateway.events import Usage
from roost_platform.gateway.keys.hosted_prices import HostedPrices, is_hosted, variants
from roost_platform.gateway.keys.ports import GatewayKey, Reservation
from roost_platform.gateway.keys.prices import TOKENS_MAX, Prices
from roost_platform.gateway.providers.openai import OpenAIProvider
from roost_platform.gateway.request import ModelRequest
from roost_platform.gateway.routing.catalogue import Catalogue, RoutedModel
from roost_platform.gateway.routing.router import CallTrace
from roost_platform.gateway.sizes import PromptSize

HOSTED = HostedPrices(
    {
        "openai": "https://api.openai.com/v1",
        "cloud": "https://generativelanguage.googleapis.com/v1beta/openai",
        "anthropic": "http://127.0.0.1:9/v1",
        "router": "https://openrouter.ai/api/v1",
        "vllm": "http://10.0.0.5:8000/v1",
        "elsewhere": "https://models.example.com/v1",
    }
)


def catalogue(**models: Mapping[str, Any]) -> Catalogue:
    """Models over the bundled core and two providers, `a` and `b`."""
    providers = {
        name: OpenAIProvider(name, ProviderConfig(base_url="http://127.0.0.1:9/v1"))
        for name in (BUNDLED, "a", "b")
    }
    made = Catalogue(GatewayConfig(), providers, {})
    made.add({name: ModelConfig.model_validate(given) for name, given in models.items()})
    return made


def priced(provider: str, **price: float) -> Mapping[str, Any]:
    return {"targets": [{"provider": provider, "model": "m", "price": price}]}


def asked(**more: Any) -> ModelRequest:
    body = {"messages": [{"role": "user", "content": "x" * 400}]}
    return ModelRequest("chat", "fast", body, prompt_bytes=400, **more)


def held(
    model: RoutedModel, prices: Prices, request: ModelRequest, **key: Any
) -> tuple[ModelRequest, Reservation]:
    holder = GatewayKey("k", "k", has_budget=bool(key), **key)
    bounded = prices.bounded(request, model, holder)
    return bounded, prices.reservation("call", bounded, model, holder)


def cost(model: RoutedModel, usage: Usage, prices: Prices | None = None) -> int:
    trace = CallTrace(target=model.targets[0], usage=usage, first=1.0)
    return (prices or Prices()).spent("call", trace, "ok", 200, "").cost_microusd


def test_sums_are_exact_and_rounded_up_once() -> None:
    models = catalogue(fast=priced("a", input=1.1, output=0.1, cached=0.3, cache_write=1.375))
    model = models.find("fast")
    assert cost(model, Usage(100)) == 110  # as binary fractions it is a little more
    assert cost(model, Usage(0, output_tokens=30)) == 3
    assert cost(model, Usage(1)) == 2
    assert cost(model, Usage()) == 0
    # 60 fresh, 30 cached, 10 written: 66 + 9 + 13.75
    assert cost(model, Usage(100, cached_tokens=30, cache_write_tokens=10)) == 89


def test_absurd_counts_of_a_provider_are_no_counts() -> None:
    model = catalogue(fast=priced("a", input=1)).find("fast")
    prices = Prices()
    trace = CallTrace(target=model.targets[0], usage=Usage(10**30, 10**31, -4, -1), first=1.0)
    spent = prices.spent("call", trace, "ok", 200, "")
    assert (spent.input_tokens, spent.output_tokens) == (TOKENS_MAX, 0)
    assert spent.cached_tokens <= spent.input_tokens and spent.cache_write_tokens == 0


def test_long_prompts_cost_the_price_of_their_step() -> None:
    price = TieredPrice(input=1, output=2, above_tokens=1000, above=PriceConfig(input=3, output=4))
    models = catalogue(fast={"targets": ["a/m"]})
    prices = Prices({"a/m": price})
    assert cost(models.find("fast"), Usage(1000, output_tokens=1), prices) == 1002
    assert cost(models.find("fast"), Usage(1001, output_tokens=1), prices) == 3007


def test_the_own_engine_costs_nothing_and_is_never_looked_up() -> None:
    def look_up(_provider: str, _model: str) -> PriceConfig:
        raise AssertionError("looked up")

    model = catalogue(fast={"targets": [f"{BUNDLED}/m"]}).find("fast")
    assert cost(model, Usage(10**6, output_tokens=10**6), Prices(look_up=look_up)) == 0


def test_a_targets_own_price_counts_before_the_settings_and_those_before_known_ones() -> None:
    looked: list[str] = []

    def look_up(provider: str, model: str) -> PriceConfig | None:
        looked.append(f"{provider}/{model}")
        return PriceConfig(input=3)

    models = catalogue(own=priced("a", input=1), plain={"targets": ["a/m"]})
    settings = Prices({"a/m": PriceConfig(input=2)}, look_up)
    assert cost(models.find("own"), Usage(10), settings) == 10
    assert cost(models.find("plain"), Usage(10), settings) == 20
    known = Prices(look_up=look_up)
    assert [cost(models.find("plain"), Usage(10), known) for _ in range(3)] == [30] * 3
    assert looked == ["a/m"]


def test_a_call_holds_the_dearest_target_that_may_answer_it() -> None:
    models = catalogue(
        fast={
            "targets": [{"provider": "a", "model": "m", "price": {"input": 1, "output": 1}}],
            "fallbacks": ["dear"],
        },
        dear={**priced("b", input=5, output=5), "longer": ["fast"]},
    )
    model, request = models.find("fast"), asked(max_tokens=100)
    _, alone = held(model, Prices(), request)
    _, whole = held(model, Prices(catalogue=models), request)
    assert alone.cost_microusd == alone.tokens == 107 + 100
    assert whole.cost_microusd == 5 * alone.cost_microusd


def test_answers_and_pictures_and_kept_prefixes_are_held_for() -> None:
    models = catalogue(
        fast=priced("a", input=1, output=2, cache_write=1.25), own={"targets": [f"{BUNDLED}/m"]}
    )
    _, four = held(models.find("fast"), Prices(), asked(max_tokens=10, n=4))
    assert four.tokens == 107 + 40 and four.cost_microusd == 107 + 80
    _, own = held(models.find("own"), Prices(), asked(max_tokens=10, n=4))
    assert own.tokens == 4 * 107 + 40  # the bundled core reads the prompt for each answer
    part = {"type": "text", "text": "x" * 400, "cache_control": {"type": "ephemeral"}}
    body = {"messages": [{"role": "user", "content": [part]}]}
    keeps = ModelRequest("chat", "fast", body, prompt_bytes=400, max_tokens=10)
    assert held(models.find("fast"), Prices(), keeps)[1].cost_microusd == 134 + 20


def test_an_embedding_of_the_own_engine_is_held_though_it_has_no_answer() -> None:
    models = catalogue(own={"targets": [f"{BUNDLED}/m"]}, other={"targets": ["a/m"]})
    nothing = asked(max_tokens=0, n=0)
    _, own = held(models.find("own"), Prices(), nothing)
    _, other = held(models.find("other"), Prices(), nothing)
    assert own.tokens == other.tokens == 107


def test_a_request_without_a_bound_gets_the_models_under_a_budget_alone() -> None:
    models = catalogue(
        fast={**priced("a", output=1), "max_output_tokens": 500},
        narrow={"targets": ["a/m"], "context_tokens": 300},
    )
    free, _ = held(models.find("fast"), Prices(), asked())
    assert free.max_tokens is None and "max_tokens" not in free.body
    bounded, wanted = held(models.find("fast"), Prices(), asked(), budget_tokens=10**6)
    assert bounded.max_tokens == bounded.body["max_tokens"] == 500
    assert wanted.tokens == 107 + 500
    given, _ = held(models.find("fast"), Prices(), asked(max_tokens=7), budget_tokens=10**6)
    assert given.max_tokens == 7
    assert held(models.find("narrow"), Prices(), asked(), budget_tokens=10**6)[0].max_tokens == 300


@pytest.mark.parametrize(
    ("key", "most"),
    [
        ({"budget_tokens": 607}, 500),  # one call fits, so its bound is the model's
        ({"budget_tokens": 606}, (606 - 107) // 4),
        ({"budget_microusd": 606}, (606 - 107) // 4),
        ({"budget_microusd": 50}, 1),  # refused when it is reserved
    ],
)
def test_a_budget_below_one_such_call_is_shared_by_calls_with_a_lower_bound(
    key: dict[str, int], most: int
) -> None:
    models = catalogue(fast={**priced("a", input=1, output=1), "max_output_tokens": 500})
    bounded, _ = held(models.find("fast"), Prices(), asked(), **key)
    assert bounded.max_tokens == most


def test_what_a_provider_counted_is_held_for_the_next_prompt_of_that_size() -> None:
    model = catalogue(fast=priced("a", input=1)).find("fast")
    prices = Prices()
    trace = CallTrace(target=model.targets[0], usage=Usage(333), first=1.0, size=PromptSize(400, 1))
    prices.spent("call", trace, "ok", 200, "")
    assert held(model, prices, asked(max_tokens=1))[1].tokens == 334


def test_a_call_that_was_cut_off_pays_for_what_came_of_it() -> None:
    model = catalogue(fast=priced("a", input=1, output=1)).find("fast")
    size = PromptSize(400, 1)
    before = CallTrace(target=model.targets[0], first=1.0, prompt_bytes=400, size=size)
    assert Prices().spent("c", before, "cancelled", 499, "client_gone").cost_microusd == 0
    begun = CallTrace(
        target=model.targets[0], first=1.0, prompt_bytes=400, produced_bytes=40, size=size
    )
    spent = Prices().spent("c", begun, "cancelled", 499, "client_gone")
    assert (spent.input_tokens, spent.output_tokens, spent.cost_microusd) == (107, 10, 117)


@pytest.mark.parametrize(
    ("provider", "names", "read"),
    [
        ("openai", ["gpt-4o", "gpt-4o-2024-08-06", "GPT-4o", "ft:gpt-4o:team::id"], 2.5),
        ("openai", ["openai/gpt-4o-mini", "gpt-4o-mini:free"], 0.15),
        ("cloud", ["gemini-2.5-pro", "models/gemini-2.5-pro"], 1.25),
        ("anthropic", ["claude-sonnet-4-5", "claude-sonnet-4-5@20250929"], 3.0),
        ("router", ["openai/gpt-4o"], 2.5),
    ],
)
def test_known_prices_are_found_by_the_variants_of_a_name(
    provider: str, names: Sequence[str], read: float
) -> None:
    for name in names:
        price = HOSTED.find(provider, name)
        assert price is not None and price.input == read, name


def test_what_nobody_knows_has_no_price() -> None:
    assert HOSTED.find("openai", "unheard-of") is None
    assert HOSTED.find("vllm", "gpt-4o") is None  # a model's name alone says nothing
    assert HOSTED.find("elsewhere", "gpt-4o") is None
    assert HOSTED.find("nobody", "gpt-4o") is None


def test_a_known_price_has_its_cached_and_written_tokens_and_its_steps() -> None:
    price = HOSTED.find("anthropic", "claude-sonnet-4-5")
    assert isinstance(price, TieredPrice)
    assert (price.input, price.cached, price.cache_write, price.output) == (3, 0.3, 3.75, 15)
    assert price.above_tokens == 200_000 and price.above.input > price.input


def test_variants_are_each_told_once() -> None:
    assert list(variants("gpt-4o")) == ["gpt-4o"]
    assert list(variants("Models/X-latest")) == ["models/x-latest", "models/x", "x-latest", "x"]


def test_loopback_and_private_addresses_are_not_hosted() -> None:
    for url in ("http://127.0.0.1:1", "http://[::1]:1", "http://10.1.2.3", "http://vllm:8000"):
        assert not is_hosted("mine", url)
    assert not is_hosted("mine", "http://box.local/v1")
    assert is_hosted("mine", "https://api.example.com/v1")


def test_without_hosted_providers_the_package_of_prices_is_never_loaded() -> None:
    script = (
        "import sys\n"
        "from roost_platform.wiring.models import needs_known_prices\n"
        "from roost_platform.settings.config import load_settings\n"
        "given = {'providers': {'vllm': {'base_url': 'http://127.0.0.1:8000/v1'}},\n"
        " 'models': {'fast': {'targets': ['vllm/m']}}}\n"
        "assert not needs_known_prices(load_settings(given, environ={}))\n"
        "given['providers'] = {'openai': {'base_url': 'https://api.openai.com/v1'}}\n"
        "given['models'] = {'fast': {'targets': ['openai/gpt-4o']}}\n"
        "assert needs_known_prices(load_settings(given, environ={}))\n"
        "given['providers']['openai']['prices'] = {'gpt-4o': {'input': 1}}\n"
        "assert not needs_known_prices(load_settings(given, environ={}))\n"
        "assert 'genai_prices' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
