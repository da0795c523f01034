"""Which models there are: the aliases, and what each provider lists, remembered for a minute."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from roost_inference.errors import EngineError, UnknownModel
from roost_platform.gateway.keys.ports import GatewayKey
from roost_platform.gateway.providers.provider import Provider
from roost_platform.gateway.routing.catalogue import Catalogue, RoutedModel

log = logging.getLogger(__name__)

FRESH_S: Final = 60.0
WAIT_S: Final = 1.0  # for a provider that has not listed its models yet
LOOK_UP_S: Final = 30.0  # of one look-up, which goes on in the background
MODELS_MAX: Final = 2000  # of one provider
# How engines and providers call the context window.
CONTEXT_FIELDS: Final = (
    *("max_model_len", "context_length", "context_window", "max_context_length"),
    *("max_input_tokens", "inputTokenLimit", "n_ctx"),
)


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model that clients may name. created: Unix time, 0 where nobody tells it."""

    name: str
    owner: str
    created: int = 0
    context_tokens: int | None = None


@dataclass(slots=True)
class _Known:
    """What a provider has listed last: its entries by id, None before the first answer."""

    asked_at: float = float("-inf")
    entries: Mapping[str, Mapping[str, Any]] | None = None
    asking: asyncio.Task[None] | None = None


@dataclass(slots=True)
class ModelList:
    """The models of a catalogue. clock: seconds, monotonic."""

    catalogue: Catalogue
    clock: Callable[[], float]
    wait_s: float = WAIT_S
    _known: dict[str, _Known] = field(default_factory=dict)

    async def all(self, key: GatewayKey) -> list[ListedModel]:
        """The models that this key may use: aliases first, then the names of the default and of
        the engine in use, then each provider's own.
        """
        providers = list(self.catalogue.providers.values())
        listed = dict(
            zip(
                (provider.name for provider in providers),
                await asyncio.gather(*(self._entries(provider) for provider in providers)),
                strict=True,
            )
        )
        catalogue = self.catalogue
        models = [
            self._alias(name, catalogue.find(name), listed)
            for name in (*catalogue.models, *catalogue.own_names())
        ]
        for provider, entries in listed.items():
            models += [_direct(provider, id, entry) for id, entry in (entries or {}).items()]
        return [model for model in models if key.may_use(catalogue.named(model.name))]

    async def one(self, name: str, key: GatewayKey) -> ListedModel:
        """The model of that name. Raises UnknownModel, also where the key may not use it."""
        if not name or not key.may_use(self.catalogue.named(name)):
            raise UnknownModel(f"There is no model {name!r}", param="model")
        found = await self.catalogue.resolve(name)
        listed = {
            target.provider.name: await self._entries(target.provider) for target in found.targets
        }
        if name in self.catalogue.models or name in self.catalogue.own_names():
            return self._alias(name, found, listed)
        target = found.targets[0]
        entries = listed[target.provider.name]
        if entries and target.model and target.model not in entries:
            raise UnknownModel(f"There is no model {name!r}", param="model")
        entry = (entries or {}).get(target.model, {})
        return _direct(target.provider.name, target.model, entry, name=name)

    async def close(self) -> None:
        """End the look-ups that still run."""
        tasks = [known.asking for known in self._known.values() if known.asking is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _entries(self, provider: Provider) -> Mapping[str, Mapping[str, Any]] | None:
        """What the provider lists; what it listed before where it is silent now."""
        known = self._known.setdefault(provider.name, _Known())
        if known.asking is None and self.clock() - known.asked_at >= FRESH_S:
            known.asked_at = self.clock()
            known.asking = asyncio.create_task(self._ask(provider, known))
        if known.asking is not None and known.entries is None:
            await asyncio.wait((known.asking,), timeout=self.wait_s)
        return known.entries

    async def _ask(self, provider: Provider, known: _Known) -> None:
        try:
            async with asyncio.timeout(LOOK_UP_S):
                entries = await provider.models()
            named = {str(entry["id"]): entry for entry in entries if entry.get("id")}
            known.entries = dict(list(named.items())[:MODELS_MAX])
        except (EngineError, TimeoutError) as error:
            log.info("the provider %s does not list its models: %r", provider.name, error)
        finally:
            known.asking = None

    def _alias(
        self,
        name: str,
        model: RoutedModel,
        listed: Mapping[str, Mapping[str, Mapping[str, Any]] | None],
    ) -> ListedModel:
        """An alias holds as much as the smallest of its targets, where that is known."""
        windows = [
            window
            for target in model.targets
            if (window := _window_of(listed.get(target.provider.name) or {}, target.model))
        ]
        context = model.config.context_tokens or (min(windows) if windows else None)
        return ListedModel(name, "roost", context_tokens=context)


def _window_of(entries: Mapping[str, Mapping[str, Any]], model: str) -> int | None:
    if not model:  # whatever the engine runs: it lists the model that answers first
        return context_window(next(iter(entries.values()), {}))
    return context_window(entries.get(model, {}))


def _direct(provider: str, id: str, entry: Mapping[str, Any], *, name: str = "") -> ListedModel:
    created, owner = entry.get("created"), entry.get("owned_by")
    is_time = isinstance(created, int) and not isinstance(created, bool) and created >= 0
    return ListedModel(
        name or f"{provider}/{id}",
        owner if isinstance(owner, str) and owner else provider,
        created if is_time and isinstance(created, int) else 0,
        context_window(entry),
    )


def context_window(entry: Mapping[str, Any]) -> int | None:
    """The context window that an entry tells, itself or in an object inside of it."""
    inside = [value for value in entry.values() if isinstance(value, Mapping)]
    for place in (entry, *inside):
        for name in (*CONTEXT_FIELDS, "n_ctx_train"):
            value = place.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None
