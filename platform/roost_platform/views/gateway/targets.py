"""How the targets of the gateway are at one moment, in the process that serves it."""

from dataclasses import dataclass

from roost_platform.gateway.routing.catalogue import Catalogue, Target
from roost_platform.gateway.routing.health import State


@dataclass(frozen=True, slots=True)
class TargetView:
    """One target. models: the aliases that use it. state: up | cooling | probing.

    failures: in a row. cooling_s: what is left of the cooldown. in_flight: calls that it answers
    now. provider_in_flight, provider_most, waiting: calls of its provider, their bound (None for
    none), and those that wait for a place. tries, answers: since the start of the process.
    last_error: the last one, also of a target that is up again; failed_s_ago: None for never.
    """

    name: str
    provider: str
    model: str
    models: tuple[str, ...]
    state: State
    failures: int
    cooling_s: float
    in_flight: int
    provider_in_flight: int
    provider_most: int | None
    waiting: int
    tries: int
    answers: int
    last_error: str = ""
    failed_s_ago: float | None = None


def target_views(catalogue: Catalogue) -> tuple[TargetView, ...]:
    """Every target that an alias has, in the order of the settings."""
    return tuple(_view(target, tuple(models)) for target, models in catalogue.targets())


def _view(target: Target, models: tuple[str, ...]) -> TargetView:
    health, slots = target.health, target.slots
    ago = None if health.failed_at is None else max(0.0, health.clock() - health.failed_at)
    return TargetView(
        name=target.name,
        provider=target.provider.name,
        model=target.model,
        models=models,
        state=health.state,
        failures=health.failures,
        cooling_s=health.cooling_s,
        in_flight=health.in_flight,
        provider_in_flight=slots.in_flight,
        provider_most=slots.most,
        waiting=slots.waiting,
        tries=health.tries,
        answers=health.answers,
        last_error=health.last_error,
        failed_s_ago=ago,
    )
