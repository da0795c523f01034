"""What the composition root gives to the console, which reads no settings of its own."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from roost.agent import Agent
from roost_channels.registry import BUILT_IN, Kinds
from roost_platform.console.phones import OpenPhones
from roost_platform.db.stores import Stores
from roost_platform.intake import PlatformIntake
from roost_platform.settings.watching import AlertsConfig
from roost_platform.views.engine.watch import EngineWatch
from roost_platform.views.faults.prompt import FindAgent
from roost_platform.views.faults.system import SystemView
from roost_platform.views.gateway.watch import GatewayWatch
from roost_platform.views.health import HealthView


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


def no_agent(_name: str) -> Agent | None:
    """Find no agent: a console without their code builds no prompts."""
    return None


@dataclass(frozen=True, slots=True)
class ConsoleDeps:
    """Everything the console needs. `clock` gives seconds since the epoch.

    health: how every process and account is, for the health strip.
    engine_watch: the engine's figures and their last hour, for the Inference page.
    gateway: its models and providers; None where this installation serves none.
    find_agent: the agent of a name, to build prompts again.
    system: settings, checks and logs; None where there is no stack.
    alerts: who is told of what goes wrong, for the Alerts page.
    phones: opens the sandbox's phones; None outside the sandbox.
    kinds: the channels there are. channels: those that can be set up, as they are configured.
    public_base_url: the address people use; https makes cookies Secure and `__Host-`.
    agents: names offered in the test chat, the default one first.
    viewers_read_texts: whether viewers see what people wrote.
    environment: a label shown beside the name, such as `staging`; empty for none.
    """

    stores: Stores
    intake: PlatformIntake
    health: HealthView
    engine_watch: EngineWatch | None = None
    gateway: GatewayWatch | None = None
    phones: OpenPhones | None = None
    find_agent: FindAgent = no_agent
    system: SystemView | None = None
    alerts: AlertsConfig = field(default_factory=AlertsConfig)
    clock: Callable[[], float] = time.time
    public_base_url: str = ""
    agents: Sequence[str] = ("concierge",)
    kinds: Kinds = BUILT_IN
    channels: Sequence[ChannelSetup] = ()
    viewers_read_texts: bool = False
    environment: str = ""
    version: str = ""

    @property
    def is_https(self) -> bool:
        """Whether people reach the console over https."""
        return urlsplit(self.public_base_url).scheme == "https"
