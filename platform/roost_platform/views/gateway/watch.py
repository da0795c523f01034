"""The gateway as the web process sees it: its models now, and whether each provider answers."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from roost_inference.errors import EngineError, EngineRefused
from roost_platform.gateway.config import BUNDLED
from roost_platform.gateway.families.models.listing import context_window
from roost_platform.gateway.keys.ports import CallLog
from roost_platform.gateway.observing.trial import Trials
from roost_platform.gateway.serving import Serving
from roost_platform.views.gateway.models import (
    ModelView,
    model_views,
    unusable_models,
)

log = logging.getLogger(__name__)

ASK_EVERY_S = 30.0  # providers are asked while somebody looks, and not more often
ASK_TIMEOUT_S = 5.0
FIRST_WAIT_S = 1.0  # how long the first page waits for what providers say


@dataclass(frozen=True, slots=True)
class ProviderView:
    """A provider. server: its host and port. state: asking | up | refused | down.

    detail: what it said, empty while it is up; models: how many it serves. context_tokens: the
    window of the first model that it lists, if told. checked_at: seconds since the epoch.
    """

    name: str
    wire: str
    server: str
    state: str
    detail: str
    models: int | None
    context_tokens: int | None
    checked_at: float | None
    in_flight: int
    is_ours: bool


def without_words(one: ProviderView) -> ProviderView:
    """The provider for viewers, who don't read what it says."""
    return replace(one, detail="")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a provider said to the question for its models."""

    state: str
    at: float
    detail: str = ""
    models: int | None = None
    context_tokens: int | None = None


@dataclass(slots=True)
class GatewayWatch:
    """What the console asks of the gateway of its own process.

    calls: where calls without a key are counted. servers: each provider's host and port.
    clock: seconds since the epoch.
    """

    serving: Serving
    calls: CallLog
    servers: Mapping[str, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.time
    trials: Trials = field(init=False)
    _answers: dict[str, _Answer] = field(default_factory=dict, init=False)
    _asking: asyncio.Task[None] | None = field(default=None, init=False)
    _asked_at: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self.trials = Trials(self.serving.prices, self.calls)

    def models(self) -> tuple[ModelView, ...]:
        """Every model with its targets."""
        return model_views(self.serving.router.catalogue, self.serving.prices, self.clock())

    def unusable(self) -> tuple[str, ...]:
        """The names of the models that no target answers now."""
        return unusable_models(self.serving.router.catalogue)

    async def providers(self) -> tuple[ProviderView, ...]:
        """Every provider, with its last answer; asks them again where that is old."""
        await self._ask()
        catalogue = self.serving.router.catalogue
        running = catalogue.running()
        views = []
        for name, provider in catalogue.providers.items():
            said = self._answers.get(name)
            views.append(
                ProviderView(
                    name=name,
                    wire=provider.wire,
                    server=self.servers.get(name, ""),
                    state=said.state if said else "asking",
                    detail=said.detail if said else "",
                    models=said.models if said else None,
                    context_tokens=said.context_tokens if said else None,
                    checked_at=said.at if said else None,
                    in_flight=running[name],
                    is_ours=name == BUNDLED,
                )
            )
        return tuple(views)

    async def close(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def _ask(self) -> None:
        """Ask in the background; only the first time somebody waits for it, and not for long."""
        is_due = self.clock() - self._asked_at >= ASK_EVERY_S
        if is_due and (self._asking is None or self._asking.done()):
            self._asked_at = self.clock()
            self._asking = asyncio.create_task(self._ask_all())
        if self._asking is not None and not self._answers:
            await asyncio.wait({self._asking}, timeout=FIRST_WAIT_S)

    async def _ask_all(self) -> None:
        names = self.serving.router.catalogue.providers
        await asyncio.gather(*(self._ask_one(name) for name in names))

    async def _ask_one(self, name: str) -> None:
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                entries = await self.serving.router.catalogue.providers[name].models()
            window = context_window(entries[0]) if entries else None
            said = _Answer("up", self.clock(), models=len(entries), context_tokens=window)
        except TimeoutError:
            said = _Answer("down", self.clock(), "It does not answer in time.")
        except EngineError as error:
            state = "refused" if isinstance(error, EngineRefused) else "down"
            said = _Answer(state, self.clock(), f"{error.code}: {error.message[:200]}")
        except Exception:
            log.exception("the provider %s can't be asked for its models", name)
            said = _Answer("down", self.clock(), "It can't be asked; see the log of `web`.")
        self._answers[name] = said
