"""For the console's tests: a gateway with targets and keys in every state, and its calls."""

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from roost_inference.errors import EngineError, EngineRefused, EngineUnavailable, QueueFull
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.gateway.keys import GatewayKeys
from roost_platform.db.stores import Stores
from roost_platform.gateway.config import (
    BUNDLED,
    GatewayConfig,
    ModelConfig,
    PriceConfig,
    ProviderConfig,
)
from roost_platform.gateway.events import Event, Finish, Started, TextDelta, Usage
from roost_platform.gateway.keys.prices import Prices
from roost_platform.gateway.request import ModelRequest, Wire
from roost_platform.gateway.routing.catalogue import Catalogue, Target
from roost_platform.gateway.routing.router import Router
from roost_platform.gateway.serving import Serving
from roost_platform.views.gateway.watch import GatewayWatch

DAY_S = 86_400.0
OUTCOMES = ("ok", "ok", "ok", "ok", "cancelled", "failed", "refused", "lost", "")
MODELS: Mapping[str, Any] = {
    "fast": {
        "targets": ["roost/small", "hosted/mini*3", "hosted/nano*1"],
        "fallbacks": ["best"],
        "context_tokens": 16_384,
    },
    "best": {
        "targets": [
            {"provider": "hosted", "model": "large", "price": {"input": 2.5, "output": 10.0}},
            {"provider": "other", "model": "large", "order": 1},
        ],
        "longer": ["fast"],
        "compress": True,
    },
    "broken": {"targets": ["other/gone"]},
}


@dataclass(slots=True)
class QuietProvider:
    """A provider without a network: answers after `stalls_s` seconds, or raises `error`."""

    name: str
    wire: Wire = "openai"
    error: EngineError | None = None
    stalls_s: float = 0.0
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    async def stream(
        self, request: ModelRequest, model: str, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        """Say hello, or fail."""
        self.asked.append((model, request.body))
        await asyncio.sleep(self.stalls_s)
        if self.error is not None:
            raise self.error
        yield [Started("1", model), TextDelta("Hello, I am <b>here</b>.")]
        yield [Finish("stop"), Usage(input_tokens=12, output_tokens=7)]

    async def embed(self, body: Mapping[str, Any], model: str) -> Mapping[str, Any]:
        """No embeddings."""
        raise EngineUnavailable("It has no embeddings")

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """Two models, or the error."""
        if self.error is not None:
            raise self.error
        return [{"id": "a"}, {"id": "b"}]

    async def close(self) -> None:
        """Nothing is open."""


def quiet_serving() -> Serving:
    """A gateway over QuietProviders: `hosted` answers, `other` refuses. The targets of `broken` and
    the second one of `best` cool down, one of `fast` has failed once and answers two calls.
    """
    providers = {
        BUNDLED: QuietProvider(BUNDLED),
        "hosted": QuietProvider("hosted"),
        "other": QuietProvider("other", "anthropic", EngineRefused("The key is `not` good")),
    }
    config = GatewayConfig(default_model="fast")
    settings = {
        "hosted": ProviderConfig(base_url="https://api.example.com", concurrency=8),
        "other": ProviderConfig(base_url="https://other.example"),
        BUNDLED: ProviderConfig(base_url="http://127.0.0.1:7710"),
    }
    catalogue = Catalogue(config, providers, settings)
    catalogue.add({name: ModelConfig.model_validate(one) for name, one in MODELS.items()})
    targets = {one.name: one for model in catalogue.models.values() for one in model.targets}
    _fail(targets["hosted/mini"], EngineUnavailable("It can't be reached"))
    for _ in range(2):
        targets["hosted/mini"].slots.take()
        targets["hosted/mini"].health.begin()
    _fail(targets["other/gone"], EngineRefused("The key is `not` good"))
    _fail(targets["other/large"], QueueFull("Too many requests", retry_after_s=120.0))
    prices = Prices({"hosted/mini": PriceConfig(input=0.25, cached=0.025, output=2.0)})
    serving = Serving(config, Router(catalogue), _NoKeys(), prices)
    serving.admission.calls = 5
    return serving


def _fail(target: Target, error: EngineError) -> None:
    attempt = target.health.attempt()
    attempt.failed(error)
    attempt.leave()


def quiet_gateway(database: Database) -> GatewayWatch:
    """What a console sees of `quiet_serving`."""
    servers = {BUNDLED: "127.0.0.1:7710", "hosted": "api.example.com", "other": "other.example"}
    return GatewayWatch(quiet_serving(), GatewayKeys(database), servers)


class _NoKeys(GatewayKeys):
    """Keys that no test asks for."""

    def __init__(self) -> None:
        """Without a database."""


def key_row(number: int, name: str, now: float, **values: Any) -> models.GatewayKeyRow:
    """A key as it is stored, used once."""
    given: dict[str, Any] = {
        "id": f"key-{number}",
        "name": name,
        "secret_hash": f"hash-{number}",
        "hint": f"h{number:03}",
        "salt": "salt",
        "models": [],
        "compress": False,
        "period": "",
        "created_at": now - 10 * DAY_S + number,
        "created_by": "Grace Hopper",
        "used_at": now - 600,
    }
    return models.GatewayKeyRow(**{**given, **values})


def key_rows(now: float) -> list[models.GatewayKeyRow]:
    """Keys in every state: without a bound, half used, nearly spent, spent, expired, revoked."""
    money: dict[str, Any] = {"budget_microusd": 5_000_000, "period": "month"}
    ends = now + 3 * DAY_S
    return [
        key_row(1, "without bounds", now, spent_microusd=1_234_567, spent_tokens=98_765),
        key_row(
            *(2, "half used", now),
            **{**money, "period_ends": ends, "spent_microusd": 2_500_000, "held_microusd": 750_000},
            in_flight=2,
            requests_per_minute=60,
            tokens_per_minute=100_000,
            parallel=4,
        ),
        key_row(3, "nearly spent", now, **money, period_ends=ends, spent_microusd=4_900_000),
        key_row(4, "spent tokens", now, budget_tokens=1000, spent_tokens=1010, models=["fast"]),
        key_row(5, "expired", now, expires_at=now - 60, used_at=None),
        key_row(6, "expires soon", now, expires_at=now + 7200, compress=True),
        key_row(7, "revoked", now, revoked_at=now - 60, budget_microusd=1, spent_microusd=1),
        # Its month is over: what it spent there counts no more.
        key_row(8, "a new month", now, **money, period_ends=now - 5, spent_microusd=5_000_000),
        key_row(9, "long-name-" * 9, now, models=["a-rather-long-name-of-a-model-" * 3]),
    ]


def call_rows(now: float, count: int = 240, seed: int = 3) -> list[models.GatewayCall]:
    """Calls of the last 12 days in every outcome, by keys and by agents."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        outcome = chance.choice(OUTCOMES)
        has_key = chance.random() < 0.7
        is_used = outcome in ("ok", "cancelled", "failed")
        tokens = chance.randint(10, 9000) if is_used else 0
        started = now - chance.uniform(0, 12 * DAY_S)
        rows.append(
            models.GatewayCall(
                id=f"call-{number}",
                key_id=f"key-{chance.randint(1, 4)}" if has_key else "",
                owner="tester",
                family=chance.choice(("chat", "messages", "responses")),
                model=chance.choice(("fast", "best")),
                target=chance.choice(("roost/small", "hosted/mini", "hosted/large"))
                if is_used
                else "",
                agent="" if has_key else chance.choice(("concierge", "researcher")),
                person=chance.choice(("", "ana", "=cmd|' /c calc'!A1")),
                started_at=started,
                ended_at=None if outcome == "" else started + 2,
                outcome=outcome,
                input_tokens=tokens,
                cached_tokens=tokens // 3,
                output_tokens=tokens // 10,
                cost_microusd=tokens * 3,
                ttft_ms=chance.uniform(20, 4000) if is_used and chance.random() < 0.9 else None,
                duration_ms=None if outcome == "" else 2000.0,
            )
        )
    return rows


async def add_gateway(stores: Stores, now: float) -> None:
    """Store the keys and the calls."""
    async with stores.database.write() as session:
        session.add_all([*key_rows(now), *call_rows(now)])
