"""Which kernels the bundled core computes with, and what became of the native ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roost_inference.errors import EngineUnavailable
from roost_inference.llama import builds
from roost_platform.settings.config import Settings
from roost_platform.stack import probes
from roost_platform.stack.checks.gateway import Finding

NAME = "kernels"


@dataclass(frozen=True, slots=True)
class Kernels:
    """What an engine reports. name: "native" or "portable"; reason: why not native ones."""

    name: str
    build: str
    reason: str


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
    return Kernels(*(str(entry.get(key) or "") for key in ("name", "build", "reason")))


def sentence(kernels: Kernels) -> str:
    """The kernels in words, as `roost up` says them."""
    detail = f"; {kernels.reason}" if kernels.reason else ""
    return f"{kernels.name} kernels, {kernels.build}{detail}"


def kernel_findings(settings: Settings, *, is_here: bool) -> list[Finding]:
    """What runs, else what would; a warning where nothing makes portable kernels native ones.

    is_here: the engine runs in this environment if at all, so what `make` noted here concerns it.
    """
    if settings.engine.url:
        return []
    kernels = running(settings, settings.engine_url.replace("//0.0.0.0:", "//127.0.0.1:"))
    if kernels is None:
        try:
            choice = builds.choose(settings.engine.kernels)
        except EngineUnavailable as error:
            return [Finding(NAME, "broken", error.message)]
        kernels = Kernels(choice.build.name, choice.build.id, choice.reason)
        is_here = True
    if kernels.name != "portable" or settings.engine.kernels == "portable":
        return [Finding(NAME, "ok", sentence(kernels))]
    state = builds.native_state() if is_here else builds.NativeState("", is_well=False)
    if state.detail and state.detail not in kernels.reason:
        kernels = Kernels(kernels.name, kernels.build, f"{kernels.reason}; now: {state.detail}")
    return [Finding(NAME, "ok" if state.is_well else "warning", sentence(kernels))]
