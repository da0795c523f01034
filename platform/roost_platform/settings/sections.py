"""The platform's own groups of settings; the other packages bring theirs."""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    create_model,
    field_validator,
)

from roost.agent import QueueMode
from roost_platform.commands import ABORT_PHRASES
from roost_platform.queueing import DEFAULT_MODE, QueueRules

WEB_PORT = 8420
QUEUE_OF = "queue_"  # begins the name of a channel's own queue mode

TenantScope = Literal["chat", "account", "installation"]


class Section(BaseModel):
    """A group of settings that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class DatabaseConfig(Section):
    """Where everything that must not be lost is stored."""

    url: SecretStr | None = Field(
        default=None,
        description="SQLAlchemy URL, `postgresql+psycopg://…` or `sqlite:///…`. "
        "Default: a SQLite file in the data folder.",
    )
    password: SecretStr = Field(
        default=SecretStr(""),
        description="Password put into the URL; here it may hold characters such as `@` and `/`.",
    )
    wait_s: float = Field(
        default=30.0,
        gt=0.0,
        le=3600.0,
        description="Seconds that a start waits for a PostgreSQL server that does not answer yet.",
    )

    @field_validator("url")
    @classmethod
    def _known(cls, url: SecretStr | None) -> SecretStr | None:
        scheme, separator, _ = (url.get_secret_value() if url else "sqlite://").partition("://")
        if not separator or scheme.partition("+")[0] not in ("sqlite", "postgresql", "postgres"):
            raise ValueError("write postgresql://user:password@host/name or sqlite:///path")
        if url is not None:
            _check_url(url.get_secret_value())
        return url

    @property
    def full_url(self) -> str:
        """The URL with its password; empty if none is set."""
        url = self.url.get_secret_value() if self.url is not None else ""
        password = self.password.get_secret_value()
        return _with_password(url, password) if url and password else url


def _with_password(url: str, password: str) -> str:
    """The URL with this password in its user part, quoted."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    user = user.partition(":")[0]
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}").geturl()


def _check_url(url: str) -> None:
    from sqlalchemy.engine import make_url  # here: most commands name no URL
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(
            "it can't be read as a URL; write postgresql://user@host:5432/name, and a password "
            "with special characters in ROOST_DATABASE__PASSWORD"
        ) from None


class SessionsConfig(Section):
    """How the engine keeps conversations apart."""

    tenant: TenantScope = Field(
        default="chat",
        description="Whose conversations may share cached prefixes in the engine: those of one "
        "`chat` (a person, or a group), of one channel `account`, or all of this `installation`. "
        "Who shares can learn from response times what others wrote.",
    )


class InboundConfig(Section):
    """How messages are queued that come in a row, or while an answer is being written.

    `steer` adds them to the running answer, `followup` answers one after the other, `collect`
    answers what came in a row together, `interrupt` stops the answer and begins again. A
    conversation's own `/queue` comes first.
    """

    queue: QueueMode = Field(default=DEFAULT_MODE, description="Queue mode of every channel.")
    debounce_s: float = Field(
        default=0.0,
        ge=0.0,
        le=60.0,
        description="Seconds of quiet before a turn begins, 0 for none. Five times this is the "
        "most that anybody waits.",
    )
    collect_s: float = Field(
        default=1.5, gt=0.0, le=60.0, description="The same where the queue mode is `collect`."
    )

    abort_phrases: tuple[str, ...] = Field(
        default=ABORT_PHRASES,
        description="Whole messages that mean `/stop` while something runs, lower-case and without "
        "punctuation.",
    )

    @property
    def rules(self) -> QueueRules:
        """The rules that storage follows."""
        by_channel = {
            name.removeprefix(QUEUE_OF): mode
            for name in type(self).model_fields
            if name.startswith(QUEUE_OF) and (mode := getattr(self, name)) is not None
        }
        return QueueRules(
            self.queue, by_channel, debounce_s=self.debounce_s, collect_s=self.collect_s
        )


def inbound_model(labels: Mapping[str, str]) -> type[InboundConfig]:
    """Return the section with a queue mode for each channel. labels: by the channels' names."""
    fields: dict[str, Any] = {
        f"{QUEUE_OF}{channel}": (
            QueueMode | None,
            Field(default=None, description=f"Queue mode of {label}, if another."),
        )
        for channel, label in labels.items()
    }
    return create_model("InboundConfig", __base__=InboundConfig, **fields)


class TemporalConfig(Section):
    """The cluster that runs sessions durably."""

    address: str | None = Field(
        default=None,
        description="`host:port` of a Temporal cluster. Default: `roost up` runs its own.",
    )
    namespace: str = Field(default="default", description="Temporal namespace.")

    @field_validator("address")
    @classmethod
    def _has_port(cls, value: str | None) -> str | None:
        host, _, port = (value or "none:1").rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) <= 65535:
            raise ValueError("write host:port, such as temporal.example.org:7233")
        return value


class RetentionConfig(Section):
    """How long what was said and done is kept."""

    conversations_days: float | None = Field(
        default=None,
        ge=30.0,
        description="Days after which messages, answers, tool calls and deliveries are deleted. "
        "Default: never. Networks may repeat a message for some days, so 30 is the least.",
    )


class WebConfig(Section):
    """The port that carries the console, the API and the webhooks."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(
        default=WEB_PORT, ge=0, le=65535, description="Port to listen on; 0 takes a free one."
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="Host names the web port answers to, besides this machine's loopback and the "
        "host of `public_base_url`; `*` is any.",
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=(),
        description="Addresses and networks of the reverse proxies before the web port, such as "
        "`10.0.0.0/8`. `X-Forwarded-For` and `X-Forwarded-Proto` are believed of them alone.",
    )
    max_body_bytes: int = Field(
        default=4_194_304,
        ge=1024,
        description="Largest request body that is read. Some providers' webhooks have 3 MB.",
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            try:
                ip_network(entry, strict=False)
            except ValueError:
                raise ValueError(
                    f"{entry!r} is not an address or network, such as 10.0.0.5 or 10.0.0.0/8"
                ) from None
        return entries


class ConsoleConfig(Section):
    """How the console presents itself."""

    viewers_read_texts: bool = Field(
        default=False, description="Whether the role viewer may read what people wrote."
    )
    environment: str = Field(
        default="", max_length=32, description="A label beside the name, such as `staging`."
    )
