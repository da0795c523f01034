"""The console, the API and `roost chat` as a channel."""

from typing import TYPE_CHECKING

from roost_channels.console.config import CHANNEL, ConsoleChannelConfig
from roost_channels.kinds import ChannelKind, ChannelPorts

if TYPE_CHECKING:
    from roost_channels.channel import Channel


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
    has_buttons=False,
)
