"""Settings of a WhatsApp number at Meta's Cloud API."""

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from roost_channels.config import ChannelConfig, OptionalSecret, OptionalText
from roost_channels.whatsapp.numbers import Numbers

_GRAPH_VERSION = re.compile(r"v\d+\.\d+")


class WhatsAppCloudConfig(ChannelConfig):
    """One WhatsApp number at Meta's Cloud API; not configured without its id and its secrets."""

    access_token: OptionalSecret = Field(
        None, description="A system user's access token with whatsapp_business_messaging."
    )
    phone_number_id: OptionalText = Field(
        None, description="The business phone number's id (digits), not the number itself."
    )
    app_secret: OptionalSecret = Field(
        None, description="The Meta app's secret, which signs webhooks."
    )
    verify_token: OptionalSecret = Field(
        None, description="The word you enter beside the webhook's address; Meta repeats it once."
    )
    api_base: str = Field(
        "https://graph.facebook.com", description="Base URL of the Graph API to talk to."
    )
    api_version: str = Field("v25.0", description="Version of the Graph API.")
    allowlist: Numbers = Field((), description="Numbers (`whatsapp:+…`) that may always talk.")
    reaction: str = Field(
        "",
        max_length=16,
        description="An emoji put under each message that an answer is begun for, such as 👀."
        " Empty: none.",
    )
    window_template: OptionalText = Field(
        None,
        description="Name of an approved template without variables, sent when an answer is ready"
        " but the person has not written for 24 hours. Empty: none is sent.",
    )
    window_template_language: str = Field("en_US", description="That template's language.")

    @field_validator("phone_number_id")
    @classmethod
    def _is_id(cls, value: str | None) -> str | None:
        if value is not None and not value.isdigit():
            raise ValueError("the id is digits alone; Meta shows it beside the phone number")
        return value

    @field_validator("api_version")
    @classmethod
    def _is_version(cls, value: str) -> str:
        if not _GRAPH_VERSION.fullmatch(value):
            raise ValueError("write it as v25.0")
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        values = {
            "access_token": self.access_token,
            "phone_number_id": self.phone_number_id,
            "app_secret": self.app_secret,
            "verify_token": self.verify_token,
        }
        missing = [name for name, value in values.items() if not value]
        if 0 < len(missing) < len(values):
            needed = "access_token, phone_number_id, app_secret and verify_token"
            raise ValueError(f"the Cloud API needs {needed}; no {missing[0]}")
        return self

    @property
    def configured(self) -> bool:
        """Whether token and phone number are set."""
        return bool(self.access_token and self.phone_number_id)

    @property
    def account(self) -> str:
        """The phone number's id every conversation of this account belongs to."""
        return self.phone_number_id or ""
