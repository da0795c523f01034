"""The models of this gateway: each alias with its targets, made of the settings."""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from roost_inference.errors import EngineError, UnknownModel
from roost_platform.gateway.config import (
    BUNDLED,
    DEFAULT,
    GatewayConfig,
    ModelConfig,
    Models,
    PriceConfig,
    ProviderConfig,
    TargetConfig,
)
from roost_platform.gateway.providers.provider import Provider
from roost_platform.gateway.routing.checking import check_default, check_models
from roost_platform.gateway.routing.health import TargetHealth
from roost_platform.gateway.routing.slots import Slots

DIRECT_MAX = 1000  # `provider/model` that clients named, whose health is remembered
LEARN_EVERY_S = 5.0  # an unknown name makes the gateway ask the engine which models it serves
LEARN_TIMEOUT_S = 2.0
LEARNED_MAX = 1000
KEY_CHARACTERS_MIN = 8  # a shorter key may be any word of an error


@dataclass(frozen=True, slots=True)
class Target:
    """A model of a provider, as one alias uses it. model: empty for the one that the engine in use
    serves. health, slots: shared by all aliases.
    """

    provider: Provider
    model: str
    health: TargetHealth
    slots: Slots = field(default_factory=Slots)
    weight: float = 1.0
    order: int = 0
    price: PriceConfig | None = None
    first_byte_timeout_s: float | None = None

    @property
    def name(self) -> str:
        """`provider/model`; the provider alone for the model that it serves."""
        return f"{self.provider.name}/{self.model}" if self.model else self.provider.name

    @property
    def is_full(self) -> bool:
        """Whether its provider has as many calls as it may have."""
        return self.slots.most is not None and self.slots.in_flight >= self.slots.most


@dataclass(frozen=True, slots=True)
class RoutedModel:
    """An alias and where its requests go."""

    name: str
    targets: Sequence[Target]
    config: ModelConfig

    def ordered(self, choose: random.Random) -> Iterator[Target]:
        """The targets by order; those of one order by chance, in proportion to their weights."""
        if len(self.targets) == 1:
            yield self.targets[0]
            return
        for order in sorted({target.order for target in self.targets}):
            equals = [target for target in self.targets if target.order == order]
            while equals:
                chosen = choose.choices(equals, [target.weight for target in equals])[0]
                equals.remove(chosen)
                yield chosen


@dataclass(slots=True)
class Catalogue:
    """All models by name. `provider/model` names any model of a provider, without an alias; the
    engine in use answers to `default`, to `roost` and to the names of its models as well.

    settings: of each provider. engine_model: the configured name of the engine's model, empty for
    the one that it serves. clock: seconds, monotonic.
    """

    config: GatewayConfig
    providers: Mapping[str, Provider]
    settings: Mapping[str, ProviderConfig] = field(default_factory=dict)
    engine_model: str = ""
    clock: Callable[[], float] = time.monotonic
    chance: random.Random = field(default_factory=random.Random)
    models: dict[str, RoutedModel] = field(default_factory=dict)
    _slots: dict[str, Slots] = field(default_factory=dict)
    _health: dict[str, TargetHealth] = field(default_factory=dict)
    _direct: OrderedDict[str, TargetHealth] = field(default_factory=OrderedDict)
    _served: frozenset[str] = frozenset()
    _learn_at: float = float("-inf")
    _learning: asyncio.Task[None] | None = None

    def add(self, models: Models) -> None:
        """Take the models of the settings. Raises ValueError, which names what does not fit."""
        own = {BUNDLED, DEFAULT, self.engine_model} - {""}
        check_models(models, self.providers, own)
        for name, config in models.items():
            targets = [self._target(target, self._kept) for target in config.targets]
            self.models[name] = RoutedModel(name, targets, config)
        check_default(self.config.default_model, {*self.models, *own}, self.providers)

    def named(self, name: str) -> str:
        """The name of the model that this name means: a request may name none, or `default`."""
        if name in ("", DEFAULT) and DEFAULT not in self.models:
            return self.config.default_model or DEFAULT
        return name or DEFAULT

    def find(self, name: str) -> RoutedModel:
        """The model of that name; raises UnknownModel."""
        name = self.named(name)
        if known := self.models.get(name):
            return known
        if name in (DEFAULT, BUNDLED, self.engine_model) and BUNDLED in self.providers:
            return self._alone(name, BUNDLED, self.engine_model)
        provider, _, model = name.partition("/")
        if model and provider in self.providers:
            return self._alone(name, provider, model)
        if name in self._served:
            return self._alone(name, BUNDLED, name)
        raise UnknownModel(f"There is no model {name[:200]!r}", param="model")

    async def resolve(self, name: str) -> RoutedModel:
        """The model of that name, also where only the engine in use knows the name. Raises
        UnknownModel.
        """
        try:
            return self.find(name)
        except UnknownModel:
            await self._learn()
            return self.find(name)

    def own_names(self) -> Sequence[str]:
        """The names, beside aliases, that every client may use: of the default, of the engine."""
        if BUNDLED not in self.providers:
            return [DEFAULT] if self.config.default_model and DEFAULT not in self.models else []
        names = dict.fromkeys((DEFAULT, BUNDLED, self.engine_model))
        return [name for name in names if name and name not in self.models]

    def hide_key(self, target: Target, error: EngineError) -> None:
        """Take our key out of the words of a provider's error, which some providers repeat."""
        settings = self.settings.get(target.provider.name)
        key = settings.api_key.get_secret_value() if settings else ""
        if len(key) >= KEY_CHARACTERS_MIN:
            error.message = error.message.replace(key, "[key]")

    def running(self) -> Mapping[str, int]:
        """Calls that each provider answers now, by its name, whatever their model."""
        running = dict.fromkeys(self.providers, 0)
        return running | {name: slots.in_flight for name, slots in self._slots.items()}

    def targets(self) -> Iterator[tuple[Target, Sequence[str]]]:
        """Every target that an alias has, once, with the names of these aliases."""
        by_name: dict[str, tuple[Target, list[str]]] = {}
        for model in self.models.values():
            for target in model.targets:
                aliases = by_name.setdefault(target.name, (target, []))[1]
                if model.name not in aliases:
                    aliases.append(model.name)
        yield from by_name.values()

    async def close(self) -> None:
        """Close every provider's connections."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait({self._learning})
        for provider in self.providers.values():
            await provider.close()

    async def _learn(self) -> None:
        """Ask the engine in use for the names of its models, not too often and once at a time."""
        if BUNDLED not in self.providers:
            return
        if self._learning is None or self._learning.done():
            if self.clock() < self._learn_at:
                return
            self._learn_at = self.clock() + LEARN_EVERY_S
            self._learning = asyncio.create_task(self._ask_engine())
        # Another request may wait for the same task: this one's end does not end it.
        await asyncio.wait({self._learning})

    async def _ask_engine(self) -> None:
        try:
            async with asyncio.timeout(LEARN_TIMEOUT_S):
                entries = await self.providers[BUNDLED].models()
        except (EngineError, TimeoutError):
            return
        self._served = frozenset(str(entry["id"]) for entry in entries[:LEARNED_MAX])

    def _alone(self, name: str, provider: str, model: str) -> RoutedModel:
        config = TargetConfig.model_construct(
            provider=provider, model=model, weight=1.0, order=0, price=None
        )
        return RoutedModel(name, [self._target(config, self._remembered)], _ALONE)

    def _target(self, config: TargetConfig, health: Callable[[str], TargetHealth]) -> Target:
        settings = self.settings.get(config.provider)
        model = config.model or self.engine_model
        return Target(
            provider=self.providers[config.provider],
            model=model,
            health=health(f"{config.provider}/{model}"),
            slots=self._places(config.provider, settings),
            weight=config.weight,
            order=config.order,
            price=config.price,
            first_byte_timeout_s=settings.first_byte_timeout_s if settings else None,
        )

    def _places(self, provider: str, settings: ProviderConfig | None) -> Slots:
        if provider not in self._slots:
            self._slots[provider] = Slots(settings.concurrency if settings else None)
        return self._slots[provider]

    def _kept(self, name: str) -> TargetHealth:
        """The health of a target of the settings."""
        if name not in self._health:
            self._health[name] = self._new_health()
        return self._health[name]

    def _remembered(self, name: str) -> TargetHealth:
        """The health of a target that a client named: there may be any number of names."""
        if known := self._health.get(name) or self._direct.get(name):
            return known
        while len(self._direct) >= DIRECT_MAX:
            self._direct.popitem(last=False)
        self._direct[name] = self._new_health()
        return self._direct[name]

    def _new_health(self) -> TargetHealth:
        return TargetHealth(
            self.clock,
            self.config.failures_before_cooldown,
            self.config.cooldown_s,
            self.chance,
        )


_ALONE = ModelConfig.model_construct(
    targets=(),
    fallbacks=(),
    longer=(),
    context_tokens=None,
    max_output_tokens=4096,
    compress=False,
)
