"""What a channel is to the rest of Roost: one descriptor, `ChannelKind`.

Each adapter's folder exports one as `KIND` from its `kind.py`; `registry.py` lists them. The layers
above loop over kinds and name no network. A `kind.py` is imported by every process, so it imports
the adapter itself inside the functions that need it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from roost_channels.config import AUTH_PROBE_S, ChannelConfig
from roost_channels.sandbox.network import SandboxNetwork
from roost_channels.webhook import WebhookHandlers, WebhookRoute

# Settings need the kinds, so every command imports them: what opening needs is left out.
if TYPE_CHECKING:
    from roost_channels.channel import Channel
    from roost_channels.clock import Clock
    from roost_channels.files import ChannelFiles
    from roost_channels.intake import Intake
    from roost_channels.outbox import Receipts

C = TypeVar("C", bound=ChannelConfig)

Level = Literal["ok", "warning", "broken"]
Tone = Literal["sky", "leaf", "plain"]


@dataclass(frozen=True, slots=True)
class ChatCommand:
    """A command that people may give in a chat: `name` without its slash, and what it does."""

    name: str
    description: str


@dataclass(frozen=True, slots=True)
class ChannelPorts:
    """What an account is opened with besides its settings.

    public_base_url: where providers reach our web port, the empty string where they can't.
    files: what people sent and answers carry. receipts: how earlier messages of ours stand.
    commands: for networks that show a menu of them; the adapter registers them in `ingest`.
    auth_probe_s: how long to wait before refused credentials are tried again.
    """

    public_base_url: str = ""
    files: "ChannelFiles | None" = None
    receipts: "Receipts | None" = None
    commands: Sequence[ChatCommand] = ()
    clock: "Clock | None" = None
    auth_probe_s: float = AUTH_PROBE_S


@dataclass(frozen=True, slots=True)
class WebhookPorts:
    """What an account's webhook handlers are given besides its settings."""

    intake: "Intake"
    public_base_url: str = ""
    files: "ChannelFiles | None" = None


@dataclass(frozen=True, slots=True)
class Setup:
    """How an account is connected, for the Channels page.

    receives_by: how messages come in, `polling` or `webhook`; empty while nothing is configured.
    webhooks: (what it is for, URL to enter at the provider).
    steps: how to set the channel up, one sentence each, Markdown allowed.
    """

    receives_by: str = ""
    webhooks: Sequence[tuple[str, str]] = ()
    steps: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe found out, for `roost doctor`."""

    level: Level
    detail: str


class GetJson(Protocol):
    """One HTTP GET with a short time limit."""

    async def __call__(self, url: str, *, token: str = "") -> tuple[int, dict[str, Any]]:
        """(status, JSON object) of the answer; status 0 where nobody answers. token: a bearer."""
        ...


@dataclass(frozen=True, slots=True)
class ProbePorts:
    """What a probe may use besides the account's settings."""

    get_json: GetJson
    public_base_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelKind(Generic[C]):
    """One way to people, and all that the rest of Roost knows of it.

    name: unique among the kinds; what commands and logs call it.
    channel: the first part of addresses and session keys, kept for ever. Kinds that reach the same
        people over different providers share it, and with it people's identities.
    label, icon, tone: the network's name, and how the console marks it (a Lucide icon).
    section: the section of the settings, unique; the empty string for a channel without settings.
    config: the settings' class. title, help: heading and Markdown of the settings page.
    open: connects one account. Nothing is called over the network before `ingest`.
    has_buttons: whether buttons surely reach people; else exact words decide as well.
    routes: paths of the web port, served also while the channel is not configured.
    webhooks: handlers by these paths, for a configured account; None where nothing is to be
        handled, such as with polling.
    setup: (settings, public base URL) → what the Channels page tells.
    is_offered: whether the Channels page lists the channel before it is configured.
    probe: whether the account would work, as `roost doctor` asks; None to say nothing.
    sandbox: the fake network of `roost up --sandbox`; None leaves the channel out of it.
    """

    name: str
    channel: str
    label: str
    icon: str
    config: type[C]
    open: Callable[[C, ChannelPorts], "Channel"]
    section: str = ""
    title: str = ""
    help: str = ""
    tone: Tone = "plain"
    has_buttons: bool = True
    routes: tuple[WebhookRoute, ...] = ()
    webhooks: Callable[[C, WebhookPorts], WebhookHandlers | None] | None = None
    setup: Callable[[C, str], Setup] | None = None
    is_offered: bool = True
    probe: Callable[[C, ProbePorts], Awaitable[Finding]] | None = None
    sandbox: SandboxNetwork[C] | None = None
