"""Settings of a Relay account."""

from typing import Self

from pydantic import Field, model_validator

from roost_channels.config import ChannelConfig, OptionalSecret, OptionalText


class RelayConfig(ChannelConfig):
    """One account at a Relay server; not configured without its address, its name and its keys."""

    api_base: OptionalText = Field(None, description="Base URL of the Relay server.")
    name: OptionalText = Field(None, description="The account's name there.")
    api_key: OptionalSecret = Field(None, description="The key that authenticates our requests.")
    webhook_secret: OptionalSecret = Field(
        None, description="The secret that signs what the server posts to us."
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        values = (self.api_base, self.name, self.api_key, self.webhook_secret)
        if any(values) and not all(values):
            raise ValueError("Relay needs api_base, name, api_key and webhook_secret")
        return self

    @property
    def configured(self) -> bool:
        """Whether there is an account to open."""
        return self.name is not None

    @property
    def account(self) -> str:
        """The account's name, the empty string while not configured."""
        return self.name or ""
