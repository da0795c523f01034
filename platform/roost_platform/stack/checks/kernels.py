"""Which kernels the bundled core computes with, and what became of the native ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from roost_inference.errors import EngineUnavailable
from roost_inference.llama import builds
from roost_platform.settings.config import Settings
from roost_platform.stack import probes
from roost_platform.stack.checks.gateway import Finding

NAME = "kernels"


@dataclass(frozen=True, slots=True)
class Kernels:
    """What an engine reports. name: "native" or "portable"; reason: why not native ones; native:
    what became of those; is_coming: whether portable ones are as they should be."""

    name: str
    build: str
    reason: str
    native: str = ""
    is_coming: bool = True


def running(settings: Settings, url: str) -> Kernels | None:
    """The kernels of the bundled core at this address; None if it does not tell."""
    if settings.engine.url:
        return None
    _, body = probes.get_json(f"{url}/health")
    return of_health(body)


def of_health(body: Mapping[str, Any]) -> Kernels | None:
    """The kernels in an answer of /health."""
    entry = body.get("kernels")
    if not isinstance(entry, Mapping) or not entry.get("name"):
        return None
    name, build, reason, native = (
        str(entry.get(key) or "") for key in ("name", "build", "reason", "native")
    )
    return Kernels(name, build, reason, native, bool(entry.get("is_coming")))


def sentence(kernels: Kernels) -> str:
    """The kernels in words, as `roost up` says them."""
    first = f"{kernels.name} kernels, {kernels.build}"
    return "; ".join(filter(None, (first, kernels.reason, kernels.native)))


def kernel_findings(settings: Settings) -> list[Finding]:
    """What runs, else what would; a warning where nothing makes portable kernels native ones."""
    if settings.engine.url:
        return []
    kernels = running(settings, settings.engine_url.replace("//0.0.0.0:", "//127.0.0.1:"))
    if kernels is None:
        try:
            kernels = _next(settings)
        except EngineUnavailable as error:
            return [Finding(NAME, "broken", error.message)]
    is_well = kernels.name == "native" or kernels.is_coming
    return [Finding(NAME, "ok" if is_well else "warning", sentence(kernels))]


def _next(settings: Settings) -> Kernels:
    """What would run here. Raises EngineUnavailable."""
    choice = builds.choose(settings.engine.kernels)
    kernels = Kernels(choice.build.name, choice.build.id, choice.reason)
    if kernels.name == "native" or settings.engine.kernels == "portable":
        return kernels
    state = builds.native_state()
    return replace(kernels, native=state.detail, is_coming=state.is_well)
