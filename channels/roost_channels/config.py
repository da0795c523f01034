"""Settings that every channel shares, and those of delivery and of files.

Frozen, every key explained, unknown keys refused. Each adapter adds its own in its `config.py`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

Access = Literal["pairing", "allowlist", "open"]
Progress = Literal["off", "status", "stream"]

AUTH_PROBE_S = 60.0


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


class ChannelConfig(BaseModel):
    """What every channel is told: who may talk, and what people see of work in progress."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    access: Access = Field(
        "pairing",
        description="Who may talk to the agents: people with an approved pairing code, people on"
        " the allowlist, or everybody.",
    )
    allowlist: Names = Field((), description="Ids of people that may always talk.")
    progress: Progress = Field(
        "status",
        description="What people see while an answer is made: typing alone, a status message with a"
        " Stop button, or the answer as it is written (a draft in private chats), as far as the"
        " channel can show it. `/progress` in a chat chooses for that chat.",
    )

    @property
    def configured(self) -> bool:
        """Whether there is an account to open."""
        raise NotImplementedError

    @property
    def account(self) -> str:
        """The name of the account in addresses, the empty string while not configured."""
        raise NotImplementedError


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
        AUTH_PROBE_S,
        gt=0,
        description="The longest wait between tries while credentials are refused.",
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
        description="Largest file taken in, in bytes. Networks have limits of their own.",
    )
    keep_days: float = Field(
        30.0, gt=0, description="Days after which files are deleted; the conversation stays."
    )
