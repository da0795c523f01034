"""The console as a channel has one account and nothing to set."""

from roost_channels.config import Access, ChannelConfig

CHANNEL, ACCOUNT = "console", "local"


class ConsoleChannelConfig(ChannelConfig):
    """The console has logins of its own, so whoever writes here may."""

    access: Access = "open"

    @property
    def configured(self) -> bool:
        """Always true: the console needs no network."""
        return True

    @property
    def account(self) -> str:
        """The one account."""
        return ACCOUNT
