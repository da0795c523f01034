"""Opens the providers and models of the settings for the processes that use them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from typing import TYPE_CHECKING

from roost_inference.client.engine_client import READ_TIMEOUT_S, EngineClient
from roost_inference.client.routing.pool import AnyEngine
from roost_inference.errors import UnknownModel
from roost_platform.data_folder.engine_key import with_engine_key
from roost_platform.db.base.engine import Database
from roost_platform.db.gateway.keys import GatewayKeys
from roost_platform.db.gateway.lost_calls import sweeping
from roost_platform.db.gateway.originals import StoredOriginals
from roost_platform.errors import ConfigError
from roost_platform.gateway.agents.recording import recording
from roost_platform.gateway.agents.routed import RoutedModels
from roost_platform.gateway.config import BUNDLED, PriceConfig, ProviderConfig
from roost_platform.gateway.keys.hosted_prices import HostedPrices, is_hosted
from roost_platform.gateway.keys.prices import Prices
from roost_platform.gateway.observing.facts import tell_step
from roost_platform.gateway.providers.anthropic.provider import AnthropicProvider
from roost_platform.gateway.providers.connection import load_client
from roost_platform.gateway.providers.engine import EngineProvider
from roost_platform.gateway.providers.pooled import PooledProvider
from roost_platform.gateway.providers.provider import Provider
from roost_platform.gateway.request import Wire
from roost_platform.gateway.routing.catalogue import Catalogue
from roost_platform.gateway.routing.router import Router
from roost_platform.settings.config import Settings
from roost_workflows.agents import AgentRegistry

if TYPE_CHECKING:
    from roost_platform.gateway.door import Gateway

ENGINE_FIRST_BYTE_S = 900.0  # it tells that it lives while it reads; see READ_TIMEOUT_S
PROVIDERS: dict[Wire, Callable[[str, ProviderConfig], Provider]] = {
    "openai": EngineProvider,
    "anthropic": AnthropicProvider,
}


def open_catalogue(settings: Settings, *, makes_key: bool = True) -> Catalogue:
    """The providers and models of these settings. Raises ConfigError for one that does not fit.

    makes_key: whether the engine's key is made where there is none; who only looks makes nothing.
    """
    settings = with_engine_key(settings) if makes_key else settings
    configs = {BUNDLED: _engine_in_use(settings), **settings.providers}
    providers: dict[str, Provider] = {
        name: PROVIDERS[config.wire](name, config) for name, config in configs.items()
    }
    if len(settings.engine_urls) > 1 or settings.engine.prefill_urls:
        providers[BUNDLED] = PooledProvider(
            BUNDLED, configs[BUNDLED], settings.engine_urls, settings.engine.prefill_urls, tell_step
        )
    engine_model = settings.engine.model_name or ""
    catalogue = Catalogue(settings.gateway, providers, configs, engine_model)
    try:
        catalogue.add(settings.models)
    except ValueError as error:
        raise ConfigError(f"models: {error}.") from None
    return catalogue


@contextlib.asynccontextmanager
async def open_gateway(
    settings: Settings, database: Database, hosts: Collection[str] = ("*",)
) -> AsyncIterator["Gateway"]:
    """The gateway, as an ASGI app for /v1. hosts: names that Host headers may have."""
    # Loaded here: a worker routes and does not serve.
    from roost_platform.db.gateway.responses import GatewayResponses
    from roost_platform.gateway.compression.compression import Compression
    from roost_platform.gateway.door import Gateway
    from roost_platform.gateway.serving import Serving

    for provider in (_engine_in_use(settings), *settings.providers.values()):
        load_client(provider)
    catalogue = open_catalogue(settings)
    prices = await open_prices(settings, catalogue)
    keys = GatewayKeys(database)
    router = Router(catalogue)
    compression = Compression(
        router, StoredOriginals(database), settings.gateway.compress_above_tokens
    )
    gateway = Gateway(
        Serving(settings.gateway, router, keys, prices, compression),
        GatewayResponses(database, settings.gateway.responses_days),
        hosts,
    )
    try:
        async with sweeping(keys):
            yield gateway
    finally:
        await gateway.close()
        await catalogue.close()


async def open_prices(settings: Settings, catalogue: Catalogue) -> Prices:
    """The prices of the settings, and those of hosted models in the package that has them."""
    hosted = HostedPrices({name: one.base_url for name, one in settings.providers.items()})
    if needs_known_prices(settings):
        await asyncio.to_thread(hosted.load)
    return Prices(settings_prices(settings), hosted.find, catalogue)


def settings_prices(settings: Settings) -> dict[str, PriceConfig]:
    """The prices of the settings by `provider/model`: a request may name a target itself."""
    prices = {
        f"{target.provider}/{target.model}": target.price
        for model in settings.models.values()
        for target in model.targets
        if target.price is not None
    }
    for name, provider in settings.providers.items():
        prices |= {f"{name}/{model}": price for model, price in provider.prices.items()}
    return prices


def needs_known_prices(settings: Settings) -> bool:
    """Whether a hosted target has no price in the settings."""
    prices = settings_prices(settings)
    targets = [one for model in settings.models.values() for one in model.targets]
    for name, provider in settings.providers.items():
        names = {f"{name}/{one.model}" for one in targets if one.provider == name}
        if is_hosted(name, provider.base_url) and (not names or names - prices.keys()):
            return True
    return False


def _engine_in_use(settings: Settings) -> ProviderConfig:
    """The engine of this installation, as a provider. It may read a long prompt on few cores."""
    # Not checked again: an address that the engine's own settings accept stops no process here.
    return ProviderConfig.model_construct(
        base_url=settings.engine_url.rstrip("/"),
        api_key=settings.engine.api_key,
        first_byte_timeout_s=ENGINE_FIRST_BYTE_S,
        read_timeout_s=READ_TIMEOUT_S,
    )


@contextlib.asynccontextmanager
async def routed_models(
    settings: Settings, database: Database, engine: AnyEngine, registry: AgentRegistry
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
        prices = await open_prices(settings, catalogue)
        async with recording(GatewayKeys(database)) as recorder:
            yield RoutedModels({BUNDLED: engine, **others}, Router(catalogue), recorder, prices)
    finally:
        for client in others.values():
            await client.close()
        await catalogue.close()


def check_models(registry: AgentRegistry, catalogue: Catalogue) -> None:
    """Raise ConfigError for an agent that asks for a model which is not there."""
    for name in registry.names:
        agent = registry.agent(name)
        model = agent.settings.name if agent is not None else ""
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
