"""A channel's fake network: where it listens, the settings that point there, who serves it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from roost_channels.config import ChannelConfig

if TYPE_CHECKING:
    import httpx2

    from roost_channels.sandbox.phone import SandboxPhone

C = TypeVar("C", bound=ChannelConfig)


@dataclass(frozen=True, slots=True)
class SandboxPlace:
    """Where one fake will listen (`http://127.0.0.1:PORT`), where our web port is, and secrets.

    secret: a secret of this name, the same at every start of one data folder. Settings made of it
    are never real credentials.
    """

    url: str
    web_url: str
    secret: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class SandboxNetwork(Generic[C]):
    """How a channel runs in the sandbox.

    settings: the section's keys and values that point the channel at its fake; every credential is
        among them, so that a real one is never used.
    defaults: (key, value) of what holds in the sandbox unless somebody set them.
    url: where the settings say that the network is; the fake listens on that port.
    fake: (settings, port, our web address) → the fake, which listens inside `async with`.
    phone: (settings, HTTP client) → the phone that the console shows.
    """

    settings: Callable[[SandboxPlace], Mapping[str, str]]
    url: Callable[[C], str]
    fake: Callable[[C, int, str], AbstractAsyncContextManager[Any]]
    phone: Callable[[C, "httpx2.AsyncClient"], "SandboxPhone"]
    defaults: tuple[tuple[str, str], ...] = ()
