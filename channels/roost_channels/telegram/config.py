"""Settings of a Telegram bot."""

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from roost_channels.config import ChannelConfig, Names, OptionalSecret

_TOKEN = re.compile(r"\d+:\S+")


class TelegramConfig(ChannelConfig):
    """One Telegram bot. Without a token the channel is not configured."""

    token: OptionalSecret = Field(None, description="The bot's token from @BotFather.")
    api_base: str = Field(
        "https://api.telegram.org", description="Base URL of the Bot API server to talk to."
    )
    mode: Literal["polling", "webhook"] = Field(
        "polling", description="How updates arrive: long polling, or a webhook on the web port."
    )
    webhook_secret: OptionalSecret = Field(
        None,
        description="Secret that Telegram repeats in every webhook request; needed in webhook mode."
        " 1 to 256 of A-Z, a-z, 0-9, _ and -.",
    )
    allowlist: Names = Field((), description="Telegram user ids that may always talk.")
    reaction: str = Field(
        "",
        max_length=16,
        description="An emoji put under each message that an answer is begun for, such as 👀; one"
        " that Telegram allows as a reaction. Empty: none.",
    )
    rich_messages: bool = Field(
        False,
        description="Send answers as rich messages, with real tables and headings. Some apps of"
        " Telegram show them as unsupported.",
    )
    poll_timeout_s: int = Field(
        50, ge=0, le=50, description="How long one long poll waits for updates, in seconds."
    )

    @field_validator("token")
    @classmethod
    def _has_both_halves(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not _TOKEN.fullmatch(token.get_secret_value()):
            raise ValueError("a bot's token is its number, a colon and its secret")
        return token

    @property
    def configured(self) -> bool:
        """Whether there is a token."""
        return self.token is not None

    @property
    def account(self) -> str:
        """The bot's id: the digits before the colon of its token."""
        return self.token.get_secret_value().partition(":")[0] if self.token else ""
