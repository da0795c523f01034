"""The console, the API and `roost chat` as a channel."""

from typing import TYPE_CHECKING

from roost_channels.config import Access, ChannelConfig
from roost_channels.kinds import ChannelKind, ChannelPorts

if TYPE_CHECKING:
    from roost_channels.channel import Channel

CHANNEL, ACCOUNT = "console", "local"


class ConsoleChannelConfig(ChannelConfig):
    """Nothing to set: the console has logins of its own, so whoever writes here may."""

    access: Access = "open"

    @property
    def configured(self) -> bool:
        """Always: it needs no network."""
        return True

    @property
    def account(self) -> str:
        """The one account."""
        return ACCOUNT


def _open(config: ConsoleChannelConfig, ports: ChannelPorts) -> "Channel":
    from roost_channels.console.channel import ConsoleChannel

    return ConsoleChannel()


KIND = ChannelKind(
    name="console",
    channel=CHANNEL,
    label="Console",
    icon="terminal",
    config=ConsoleChannelConfig,
    open=_open,
)
