"""The models of this gateway: each alias with its targets, made of the settings."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from roost_inference.errors import UnknownModel
from roost_platform.gateway.config import (
    BUNDLED,
    GatewayConfig,
    ModelConfig,
    Models,
    PriceConfig,
    TargetConfig,
)
from roost_platform.gateway.providers.provider import Provider
from roost_platform.gateway.routing.health import TargetHealth


@dataclass(slots=True, eq=False)
class Target:
    """A model of a provider. in_flight: calls that it answers now; calls_max: their bound."""

    provider: Provider
    model: str
    health: TargetHealth
    weight: float = 1.0
    order: int = 0
    price: PriceConfig | None = None
    calls_max: int | None = None
    in_flight: int = 0

    @property
    def name(self) -> str:
        """`provider/model`."""
        return f"{self.provider.name}/{self.model}"

    @property
    def is_full(self) -> bool:
        """Whether it has as many calls as it may have."""
        return self.calls_max is not None and self.in_flight >= self.calls_max


@dataclass(frozen=True, slots=True)
class RoutedModel:
    """An alias and where its requests go."""

    name: str
    targets: Sequence[Target]
    config: ModelConfig

    def ordered(self, choose: random.Random) -> Iterator[Target]:
        """The targets by order; those of one order by chance, in proportion to their weights."""
        for order in sorted({target.order for target in self.targets}):
            equals = [target for target in self.targets if target.order == order]
            while equals:
                chosen = choose.choices(equals, [target.weight for target in equals])[0]
                equals.remove(chosen)
                yield chosen


@dataclass(slots=True)
class Catalogue:
    """All models by name. `provider/model` names any model of a provider, without an alias.

    clock: seconds, monotonic.
    """

    config: GatewayConfig
    providers: Mapping[str, Provider]
    calls_max: Mapping[str, int | None]
    clock: Callable[[], float] = time.monotonic
    models: dict[str, RoutedModel] = field(default_factory=dict)
    _targets: dict[str, Target] = field(default_factory=dict)

    def add(self, models: Models) -> None:
        """Take the models of the settings. Raises ValueError for a target without a provider."""
        for name, config in models.items():
            targets = [self._target(target) for target in config.targets]
            self.models[name] = RoutedModel(name, targets, config)

    def find(self, name: str) -> RoutedModel:
        """The model of that name; raises UnknownModel."""
        name = name or self.config.default_model
        if found := self.models.get(name):
            return found
        provider, slash, model = name.partition("/")
        if slash and provider in self.providers and model:
            return self._direct(name, provider, model)
        if name and BUNDLED in self.providers and name == f"{BUNDLED}":
            return self._direct(name, BUNDLED, "")
        raise UnknownModel(f"There is no model {name!r}", param="model")

    def _direct(self, name: str, provider: str, model: str) -> RoutedModel:
        config = TargetConfig.model_construct(provider=provider, model=model, weight=1.0, order=0)
        return RoutedModel(name, [self._target(config)], _ALONE)

    def _target(self, config: TargetConfig) -> Target:
        provider = self.providers.get(config.provider)
        if provider is None:
            raise ValueError(f"there is no provider {config.provider!r}")
        name = f"{config.provider}/{config.model}"
        known = self._targets.get(name)
        health = known.health if known else self._health()
        target = Target(
            provider=provider,
            model=config.model,
            health=health,
            weight=config.weight,
            order=config.order,
            price=getattr(config, "price", None),
            calls_max=self.calls_max.get(config.provider),
        )
        if known is None and len(self._targets) < TARGETS_MAX:
            self._targets[name] = target
        return target

    def _health(self) -> TargetHealth:
        return TargetHealth(
            self.clock, self.config.failures_before_cooldown, self.config.cooldown_s
        )


TARGETS_MAX = 1000  # whose health is remembered by name
_ALONE = ModelConfig.model_construct(
    targets=(),
    fallbacks=(),
    longer=(),
    context_tokens=None,
    max_output_tokens=4096,
    compress=False,
)
