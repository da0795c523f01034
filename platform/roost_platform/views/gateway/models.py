"""The models of the gateway as people see them: their targets, in order, and how these are."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from roost_platform.gateway.config import BUNDLED
from roost_platform.gateway.keys.prices import FREE, Prices
from roost_platform.gateway.routing.catalogue import Catalogue, RoutedModel, Target


@dataclass(frozen=True, slots=True)
class PriceView:
    """Prices in US dollars for a million tokens."""

    input: float
    cached: float
    output: float


@dataclass(frozen=True, slots=True)
class TargetView:
    """A model of a provider, as an alias uses it.

    share: of the requests that try it first, among the targets of its order.
    state: up | cooling | probing. cooling_until: whole seconds since the epoch.
    in_flight: calls that it answers now, in_flight_max: their bound.
    last_error: its code and words; empty for those who may not read them.
    price: None where nobody has priced it.
    """

    name: str
    order: int
    share: float
    state: str
    cooling_until: float | None
    failures: int
    in_flight: int
    in_flight_max: int | None
    last_error: str
    price: PriceView | None
    is_ours: bool

    @property
    def is_usable(self) -> bool:
        """Whether requests go to it."""
        return self.state != "cooling"


@dataclass(frozen=True, slots=True)
class ModelView:
    """An alias. targets: in the order in which they are tried."""

    name: str
    targets: tuple[TargetView, ...]
    fallbacks: tuple[str, ...]
    longer: tuple[str, ...]
    context_tokens: int | None
    max_output_tokens: int
    compresses: bool
    is_default: bool

    @property
    def is_usable(self) -> bool:
        """Whether at least one of its own targets takes requests."""
        return any(target.is_usable for target in self.targets)


def model_views(catalogue: Catalogue, prices: Prices, now: float) -> tuple[ModelView, ...]:
    """Every alias, in the order of the settings; without any, the engine of this installation.

    now: seconds since the epoch.
    """
    return tuple(_model_view(catalogue, model, prices, now) for model in shown_models(catalogue))


def shown_models(catalogue: Catalogue) -> Iterator[RoutedModel]:
    """The models that have a name of their own."""
    yield from catalogue.models.values()
    if not catalogue.models and BUNDLED in catalogue.providers:
        yield catalogue.find(BUNDLED)


def find_target(catalogue: Catalogue, model: str, target: str) -> Target | None:
    """The target of this name of a shown model."""
    for one in shown_models(catalogue):
        if one.name == model:
            return next((each for each in one.targets if each.name == target), None)
    return None


def unusable_models(catalogue: Catalogue) -> tuple[str, ...]:
    """The models of which every target cools down, and those they fall back to as well."""
    usable = {
        model.name: any(target.health.state != "cooling" for target in model.targets)
        for model in shown_models(catalogue)
    }
    return tuple(
        model.name
        for model in shown_models(catalogue)
        if not usable[model.name]
        and not any(usable.get(other, True) for other in model.config.fallbacks)
    )


def without_errors(model: ModelView) -> ModelView:
    """The model for viewers, who don't read what providers say."""
    return replace(model, targets=tuple(replace(one, last_error="") for one in model.targets))


def _model_view(catalogue: Catalogue, model: RoutedModel, prices: Prices, now: float) -> ModelView:
    targets = sorted(model.targets, key=lambda target: (target.order, -target.weight))
    weights: dict[int, float] = {}
    for target in targets:
        weights[target.order] = weights.get(target.order, 0.0) + target.weight
    return ModelView(
        name=model.name,
        targets=tuple(
            _target_view(target, target.weight / weights[target.order], prices, now)
            for target in targets
        ),
        fallbacks=model.config.fallbacks,
        longer=model.config.longer,
        context_tokens=model.config.context_tokens,
        max_output_tokens=model.config.max_output_tokens,
        compresses=model.config.compress,
        is_default=model.name == catalogue.config.default_model,
    )


def _target_view(target: Target, share: float, prices: Prices, now: float) -> TargetView:
    health, price = target.health, prices.of(target)
    cooling_s = health.cooling_s
    return TargetView(
        name=target.name,
        order=target.order,
        share=share,
        state=health.state,
        cooling_until=float(round(now + cooling_s)) if cooling_s > 0 else None,
        failures=health.failures,
        in_flight=target.health.in_flight,
        in_flight_max=target.slots.most,
        last_error=health.last_error,
        price=None
        if price == FREE
        else PriceView(
            price.input, price.input if price.cached is None else price.cached, price.output
        ),
        is_ours=target.provider.name == BUNDLED,
    )
