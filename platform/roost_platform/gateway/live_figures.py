"""The figures of the gateway at one moment, for a scrape."""

from roost_platform.gateway.facts import LiveFigures
from roost_platform.gateway.serving import Serving


def live_figures(serving: Serving) -> LiveFigures:
    """The figures now."""
    catalogue = serving.router.catalogue
    running = dict.fromkeys(catalogue.providers, 0)
    cooling_s: dict[str, float] = {}
    cooldowns: dict[str, int] = {}
    for model in catalogue.models.values():
        for target in model.targets:
            running[target.provider.name] += target.in_flight
            cooling_s[target.name] = target.health.cooling_s
            cooldowns[target.name] = target.health.cooldowns
    waiting = max(0, serving.in_flight - sum(running.values()))
    return LiveFigures(running, waiting, cooling_s, cooldowns)
