"""Opens the providers and models of the settings for the processes that use them."""

import contextlib
from collections.abc import AsyncIterator, Callable

from pydantic import SecretStr

from roost_inference.client.engine_client import EngineClient
from roost_inference.errors import UnknownModel
from roost_platform.data_folder.engine_key import with_engine_key
from roost_platform.db.base.engine import Database
from roost_platform.db.gateway.keys import GatewayKeys
from roost_platform.db.gateway.responses import GatewayResponses
from roost_platform.errors import ConfigError
from roost_platform.gateway.agents import RoutedModels
from roost_platform.gateway.config import BUNDLED, ProviderConfig
from roost_platform.gateway.door import Gateway
from roost_platform.gateway.keys.prices import Prices
from roost_platform.gateway.providers.anthropic import AnthropicProvider
from roost_platform.gateway.providers.engine import EngineProvider
from roost_platform.gateway.providers.provider import Provider
from roost_platform.gateway.request import Wire
from roost_platform.gateway.routing.catalogue import Catalogue
from roost_platform.gateway.routing.router import Router
from roost_platform.gateway.serving import Serving
from roost_platform.settings.config import Settings
from roost_workflows.agents import AgentRegistry

PROVIDERS: dict[Wire, Callable[[str, ProviderConfig], Provider]] = {
    "openai": EngineProvider,
    "anthropic": AnthropicProvider,
}


def open_catalogue(settings: Settings) -> Catalogue:
    """The providers and models of these settings. Raises ConfigError for one that does not fit."""
    configs = {BUNDLED: _engine_in_use(settings), **settings.providers}
    providers: dict[str, Provider] = {
        name: PROVIDERS[config.wire](name, config) for name, config in configs.items()
    }
    calls_max = {name: config.concurrency for name, config in configs.items()}
    catalogue = Catalogue(settings.gateway, providers, calls_max)
    try:
        catalogue.add(settings.models)
    except ValueError as error:
        raise ConfigError(f"models: {error}.") from None
    return catalogue


@contextlib.asynccontextmanager
async def open_gateway(settings: Settings, database: Database) -> AsyncIterator[Gateway]:
    """The gateway, as an ASGI app for the addresses under /v1."""
    catalogue = open_catalogue(settings)
    gateway = Gateway(
        Serving(settings.gateway, Router(catalogue), GatewayKeys(database), Prices()),
        GatewayResponses(database, settings.gateway.responses_days),
    )
    try:
        yield gateway
    finally:
        await gateway.close()
        for provider in catalogue.providers.values():
            await provider.close()


def _engine_in_use(settings: Settings) -> ProviderConfig:
    """The engine of this installation, as a provider."""
    engine = with_engine_key(settings).engine
    return ProviderConfig(
        base_url=settings.engine_url,
        api_key=SecretStr(engine.api_key.get_secret_value()),
    )


@contextlib.asynccontextmanager
async def routed_models(
    settings: Settings, database: Database, engine: EngineClient, registry: AgentRegistry
) -> AsyncIterator[RoutedModels]:
    """The client of agents' model calls. Raises ConfigError for an agent whose model is unknown."""
    catalogue = open_catalogue(settings)
    check_models(registry, catalogue)
    others = {
        name: EngineClient(
            config.base_url,
            api_key=config.api_key.get_secret_value(),
            connect_timeout_s=config.connect_timeout_s,
            read_timeout_s=config.read_timeout_s,
        )
        for name, config in settings.providers.items()
        if config.wire == "openai"
    }
    try:
        yield RoutedModels({BUNDLED: engine, **others}, Router(catalogue), GatewayKeys(database))
    finally:
        for client in others.values():
            await client.close()
        for provider in catalogue.providers.values():
            await provider.close()


def check_models(registry: AgentRegistry, catalogue: Catalogue) -> None:
    """Raise ConfigError for an agent that asks for a model which is not there."""
    for name in registry.names:
        agent = registry.agent(name)
        model = agent.model.name if agent is not None else ""
        if not model:
            continue
        try:
            catalogue.find(model)
        except UnknownModel:
            known = ", ".join(sorted(catalogue.models)) or "none"
            raise ConfigError(
                f"The agent {name!r} asks for the model {model!r}, which is neither in [models] "
                f"({known}) nor provider/model."
            ) from None
