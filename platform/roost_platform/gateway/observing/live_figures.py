"""The figures of the gateway at one moment, for a scrape."""

from roost_platform.gateway.observing.facts import LiveFigures
from roost_platform.gateway.routing.catalogue import Catalogue


def live_figures(catalogue: Catalogue, in_flight: int) -> LiveFigures:
    """The figures now. in_flight: calls that were taken in and have not ended."""
    running = catalogue.running()
    cooling_s: dict[str, float] = {}
    cooldowns: dict[str, int] = {}
    for target, _ in catalogue.targets():
        cooling_s[target.name] = target.health.cooling_s
        cooldowns[target.name] = target.health.cooldowns
    waiting = max(0, in_flight - sum(running.values()))
    return LiveFigures(running, waiting, cooling_s, cooldowns)
