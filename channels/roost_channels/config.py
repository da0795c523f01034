"""Settings of the channels: frozen, every key explained, unknown keys refused."""

import re
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

_TOKEN = re.compile(r"\d+:\S+")
_SENDER = re.compile(r"whatsapp:\+\d+")
_GRAPH_VERSION = re.compile(r"v\d+\.\d+")
Access = Literal["pairing", "allowlist", "open"]
Progress = Literal["off", "status", "stream"]


def _split(value: object) -> object:
    """Allow `a,b` from the environment where a list is meant."""
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    return value


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
OptionalText = Annotated[str | None, BeforeValidator(_none_if_empty)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_none_if_empty)]


class TelegramConfig(BaseModel):
    """One Telegram bot. Without a token the channel is not configured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    access: Access = Field(
        "pairing",
        description="Who may talk to the agents: people with an approved pairing code, people on"
        " the allowlist, or everybody.",
    )
    allowlist: Names = Field((), description="Telegram user ids that may always talk.")
    progress: Progress = Field(
        "status",
        description="What people see while an answer is made: typing alone, a status message with a"
        " Stop button, or the answer as it is written (a draft in private chats). `/progress` in a"
        " chat chooses for that chat.",
    )
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
        return self.token is not None

    @property
    def account(self) -> str:
        """The bot's id: the digits before the colon of its token."""
        return self.token.get_secret_value().partition(":")[0] if self.token else ""


class TwilioConfig(BaseModel):
    """One WhatsApp sender at Twilio; not configured without account, token and sender."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

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
    access: Access = Field(
        "pairing",
        description="Who may talk to the agents: people with an approved pairing code, people on"
        " the allowlist, or everybody.",
    )
    allowlist: Names = Field((), description="Numbers (`whatsapp:+…`) that may always talk.")
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
        given = {"account_sid": self.account_sid, "auth_token": self.auth_token, "from": self.from_}
        missing = [name for name, value in given.items() if not value]
        if 0 < len(missing) < len(given):
            raise ValueError(f"WhatsApp needs account_sid, auth_token and from; no {missing[0]}")
        return self

    @property
    def configured(self) -> bool:
        return bool(self.account_sid and self.auth_token and self.from_)

    @property
    def account(self) -> str:
        """The sender every conversation of this account belongs to."""
        return self.from_ or ""


class WhatsAppCloudConfig(BaseModel):
    """One WhatsApp number at Meta's Cloud API; not configured without its id and its secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    access: Access = Field(
        "pairing",
        description="Who may talk to the agents: people with an approved pairing code, people on"
        " the allowlist, or everybody.",
    )
    allowlist: Names = Field((), description="Numbers (`whatsapp:+…`) that may always talk.")
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
        given = {
            "access_token": self.access_token,
            "phone_number_id": self.phone_number_id,
            "app_secret": self.app_secret,
            "verify_token": self.verify_token,
        }
        missing = [name for name, value in given.items() if not value]
        if 0 < len(missing) < len(given):
            needed = "access_token, phone_number_id, app_secret and verify_token"
            raise ValueError(f"the Cloud API needs {needed}; no {missing[0]}")
        return self

    @property
    def configured(self) -> bool:
        return bool(self.access_token and self.phone_number_id)

    @property
    def account(self) -> str:
        """The phone number's id every conversation of this account belongs to."""
        return self.phone_number_id or ""


class DeliveryConfig(BaseModel):
    """How hard and how fast messages are delivered, and how progress is shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts_max: int = Field(
        8, ge=1, description="Tries of one part before it becomes a dead letter."
    )
    retry_s: float = Field(1.0, gt=0, description="Wait before the second try; grows threefold.")
    retry_max_s: float = Field(180.0, gt=0, description="The longest wait between two tries.")
    give_up_s: float = Field(
        259_200.0,
        gt=0,
        description="Age at which a message that is only being held back (limits, closed window,"
        " refused credentials) becomes a dead letter.",
    )
    lease_s: float = Field(
        120.0, gt=0, description="How long a send may be in flight before its outcome is in doubt."
    )
    hold_s: float = Field(
        21_600.0, gt=0, description="Wait between tries while a session window is closed."
    )
    reconcile_s: float = Field(
        40.0, gt=0, description="How long proof of an uncertain send is looked for."
    )
    auth_probe_s: float = Field(
        60.0, gt=0, description="The longest wait between tries while credentials are refused."
    )
    lanes_max: int = Field(64, ge=1, description="Chats that are sent to at the same time.")
    account_rate: float = Field(25.0, gt=0, description="Requests per second to one account.")
    chat_burst: int = Field(3, ge=1, description="Sends to one chat that may follow at once.")
    poll_s: float = Field(
        1.0, gt=0, description="How often lanes look for work that nothing announced."
    )
    status_delay_s: float = Field(
        1.5, ge=0, description="How long a turn runs before its status message appears."
    )
    still_working_s: float = Field(
        45.0,
        gt=0,
        description="When channels without edits say once that work is still going on.",
    )
    shutdown_s: float = Field(
        40.0,
        ge=0,
        description="How long requests in flight may last when the courier stops. Nothing new is"
        " begun meanwhile. The default covers every provider's time limit of a message.",
    )


class FilesConfig(BaseModel):
    """Files that people send and agents make; kept in the data folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inbound_bytes_max: int = Field(
        20_971_520,
        ge=1024,
        description="Largest file taken in, in bytes. Telegram gives bots no more than 20 MiB.",
    )
    keep_days: float = Field(
        30.0, gt=0, description="Days after which files are deleted; the conversation stays."
    )
