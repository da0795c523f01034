"""What the console is given by the composition root; it reads no settings of its own."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from roost_channels.registry import BUILT_IN, Kinds
from roost_platform.console.phones import OpenPhones
from roost_platform.db.stores import Stores
from roost_platform.intake import PlatformIntake
from roost_platform.views.engine.watch import EngineWatch


class EngineHealth(Protocol):
    """The one thing the console asks of the engine's client."""

    async def health(self) -> Mapping[str, Any]:
        """The engine's `/health` as JSON; raises when it can't be reached."""
        ...


@dataclass(frozen=True, slots=True)
class ChannelSetup:
    """One channel as configured, for the Channels page.

    account: our name on the network; empty while the channel is not configured.
    mode: how messages come in (`polling`, `webhook`).
    webhooks: (what it is for, URL to enter at the provider).
    steps: how to set the channel up, one sentence each, Markdown allowed.
    """

    channel: str
    account: str = ""
    mode: str = ""
    access: str = ""
    webhooks: Sequence[tuple[str, str]] = ()
    steps: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ConsoleDeps:
    """Everything the console needs. `clock` gives seconds since the epoch.

    engine_watch: the engine's figures and their last hour, for the Inference page.
    phones: opens the sandbox's phones; None outside the sandbox.
    kinds: the channels there are. channels: those that can be set up, as they are configured.
    public_base_url: the address people use; https makes cookies Secure and `__Host-`.
    agents: names offered in the test chat, the default one first.
    services: processes the health strip expects to see beating, in order.
    temporal_probe: True when the Temporal server answers.
    viewers_read_texts: whether the role viewer sees what people wrote (else texts are hidden).
    environment: a label shown beside the name, such as `staging`; empty for none.
    """

    stores: Stores
    intake: PlatformIntake
    engine_client: EngineHealth | None = None
    engine_watch: EngineWatch | None = None
    phones: OpenPhones | None = None
    clock: Callable[[], float] = time.time
    public_base_url: str = ""
    agents: Sequence[str] = ("concierge",)
    kinds: Kinds = BUILT_IN
    channels: Sequence[ChannelSetup] = ()
    services: Sequence[str] = ("engine", "worker", "courier", "web")
    temporal_probe: Callable[[], Awaitable[bool]] | None = None
    viewers_read_texts: bool = False
    environment: str = ""
    version: str = ""

    @property
    def is_https(self) -> bool:
        return urlsplit(self.public_base_url).scheme == "https"
