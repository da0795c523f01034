"""Settings of a WhatsApp sender at Twilio."""

import re
from typing import Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from roost_channels.config import ChannelConfig, OptionalSecret, OptionalText
from roost_channels.whatsapp.numbers import Numbers

_SENDER = re.compile(r"whatsapp:\+\d+")


class TwilioConfig(ChannelConfig):
    """One WhatsApp sender at Twilio; not configured without account, token and sender."""

    model_config = ConfigDict(populate_by_name=True)

    account_sid: OptionalText = Field(None, description="The Twilio account's SID (AC…).")
    auth_token: OptionalSecret = Field(
        None, description="The account's auth token: signs webhooks and authenticates requests."
    )
    from_: OptionalText = Field(
        None, alias="from", description="The WhatsApp sender, as `whatsapp:+15550001000`."
    )
    api_base: OptionalText = Field(
        None,
        description="One base URL for Twilio's api, messaging and content hosts; empty for Twilio's"
        " own.",
    )
    allowlist: Numbers = Field((), description="Numbers (`whatsapp:+…`) that may always talk.")
    shared_keys: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Shared keys that sign webhooks with SHA-256: key id to secret.",
    )
    window_template: OptionalText = Field(
        None,
        description="Content SID (HX…) of an approved template without variables, sent when an"
        " answer is ready but the person has not written for 24 hours. Empty: none is sent.",
    )
    reconcile_s: float = Field(
        60.0,
        ge=0,
        description="How often Twilio's list of messages is searched for those that no webhook"
        " brought, in seconds; 0 never.",
    )
    reconcile_back_s: float = Field(
        259_200.0,
        gt=0,
        description="How far back that search goes after we were away, in seconds.",
    )

    @field_validator("from_")
    @classmethod
    def _is_sender(cls, sender: str | None) -> str | None:
        if sender is not None and not _SENDER.fullmatch(sender):
            raise ValueError("write whatsapp:+ and the number, such as whatsapp:+15550001000")
        return sender

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        values = {
            "account_sid": self.account_sid,
            "auth_token": self.auth_token,
            "from": self.from_,
        }
        missing = [name for name, value in values.items() if not value]
        if 0 < len(missing) < len(values):
            raise ValueError(f"WhatsApp needs account_sid, auth_token and from; no {missing[0]}")
        return self

    @property
    def configured(self) -> bool:
        """Whether account, token and sender are all set."""
        return bool(self.account_sid and self.auth_token and self.from_)

    @property
    def account(self) -> str:
        """The sender every conversation of this account belongs to."""
        return self.from_ or ""
