"""What `roost doctor` says of the gateway: providers that refuse, and models that nobody has."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roost_channels.kinds import Level
from roost_inference.errors import EngineError, EngineRefused, UnknownModel
from roost_platform.errors import ConfigError
from roost_platform.gateway.config import BUNDLED
from roost_platform.settings.config import Settings

if TYPE_CHECKING:
    from roost_platform.gateway.providers.provider import Provider
    from roost_workflows.agents import AgentRegistry

ASK_TIMEOUT_S = 10.0
NAMED_MAX = 5  # missing models that one finding names


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding; see Check."""

    name: str
    level: Level
    detail: str


async def gateway_findings(settings: Settings) -> list[Finding]:
    """Check the models of the settings, and ask each provider with its key for its own."""
    gateway = settings.gateway
    if not (settings.models or settings.providers or gateway.default_model):
        return []
    from roost_platform.wiring.models import open_catalogue

    try:
        catalogue = open_catalogue(settings, makes_key=False)
    except ConfigError as error:
        return [Finding("models", "broken", str(error))]
    try:
        wanted: dict[str, set[str]] = {name: set() for name in settings.providers}
        for target, _ in catalogue.targets():
            if target.provider.name != BUNDLED:
                wanted[target.provider.name].add(target.model)
        providers = [catalogue.providers[name] for name in wanted]
        asked = await asyncio.gather(*(_ask(one, wanted[one.name]) for one in providers))
    finally:
        await catalogue.close()
    names = ", ".join(settings.models) or "none but those of the providers"
    return [Finding("models", "ok", names), *asked]


def agent_findings(settings: Settings, registry: "AgentRegistry") -> list[Finding]:
    """Check that every model which an agent names is there."""
    from roost_platform.wiring.models import check_models, open_catalogue

    try:
        catalogue = open_catalogue(settings, makes_key=False)
    except ConfigError:
        return []  # gateway_findings tells it
    try:
        check_models(registry, catalogue)
    except ConfigError as error:
        return [Finding("agents' models", "broken", str(error))]
    return []


async def _ask(provider: "Provider", wanted: Collection[str]) -> Finding:
    """Ask for the list of models, which costs nothing and needs the key where there is one."""
    name = f"provider {provider.name}"
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            entries = await provider.models()
    except TimeoutError:
        return Finding(name, "warning", f"it does not answer in {ASK_TIMEOUT_S:.0f} s")
    except EngineRefused as error:
        return Finding(name, "broken", f"it refuses our key or account: {error.message}")
    except UnknownModel:
        return Finding(name, "ok", "answers; it has no list of models")
    except EngineError as error:
        return Finding(name, "warning", error.message)
    missing = _missing(entries, wanted)
    if missing:
        named = ", ".join(missing[:NAMED_MAX])
        return Finding(name, "warning", f"its list of models lacks what targets name: {named}")
    return Finding(name, "ok", f"answers; {len(entries)} models")


def _missing(entries: Sequence[Mapping[str, object]], wanted: Collection[str]) -> list[str]:
    """The models that are not listed. Gemini lists `models/NAME`, and takes both names."""
    listed = {str(entry["id"]).removeprefix("models/") for entry in entries}
    return sorted(name for name in wanted if name.removeprefix("models/") not in listed)
