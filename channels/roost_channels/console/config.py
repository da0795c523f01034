"""The console as a channel has one account and nothing to set."""

from roost_channels.config import Access, ChannelConfig

CHANNEL, ACCOUNT = "console", "local"


class ConsoleChannelConfig(ChannelConfig):
    """The console has its own logins, so everybody who can write here may write."""

    access: Access = "open"

    @property
    def configured(self) -> bool:
        """Always true: the console needs no network."""
        return True

    @property
    def account(self) -> str:
        """The one account."""
        return ACCOUNT
