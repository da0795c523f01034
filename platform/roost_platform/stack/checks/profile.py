"""Whether the bundled core is as fast here as when its profile was validated on this machine."""

from collections.abc import Mapping
from typing import Any

from roost_platform.settings.config import Settings
from roost_platform.stack import probes
from roost_platform.stack.checks.gateway import Finding

NAME = "profile"
NOT_VALIDATED = "not validated here"


def running_profile(settings: Settings) -> Mapping[str, Any]:
    """What the running engine reports of its profile; empty if it is down or another engine."""
    if settings.engine.url:
        return {}
    _, body = probes.get_json(f"{settings.engine_url.replace('//0.0.0.0:', '//127.0.0.1:')}/health")
    profile = body.get("profile")
    return profile if isinstance(profile, Mapping) else {}


def profile_findings(settings: Settings) -> list[Finding]:
    """A warning for each figure that is 15 % off its record; nothing while no engine of ours
    runs."""
    profile = running_profile(settings)
    name = str(profile.get("name") or "")
    if not name:
        return []
    record = profile.get("record")
    if not isinstance(record, Mapping):
        when = "; it is measured once nobody uses the engine" if _is_coming(profile) else ""
        return [Finding(NAME, "ok", f"{name}: {NOT_VALIDATED}{when}")]
    off = [str(one) for one in profile.get("off") or ()]
    if not off:
        return [Finding(NAME, "ok", f"{name}: {figures_in_words(record.get('last'))}")]
    again = f"`roost profile check {name} --again` makes a new record"
    return [Finding(NAME, "warning", f"{name}: {one}; {again}") for one in off]


def figures_in_words(figures: object) -> str:
    """A measurement in a line."""
    if not isinstance(figures, Mapping):
        return NOT_VALIDATED
    load = figures.get("load_ms")
    loads = "" if load is None else f", a prompt from cache {load:.0f} ms"
    equal = "the same answers" if figures.get("is_equal") else "other answers"
    return (
        f"decode {figures.get('decode', 0):.1f} and prefill {figures.get('prefill', 0):.0f} "
        f"tokens/s{loads} and computed {figures.get('compute_ms', 0):.0f} ms, {equal} from cache"
    )


def _is_coming(profile: Mapping[str, Any]) -> bool:
    return profile.get("state") in ("waiting", "measuring")
