"""Settings of what tells operators how it goes: figures, traces, alerts, logs."""

from typing import Literal, get_args

from pydantic import Field, SecretStr, field_validator, model_validator

from roost_platform.settings.sections import Section

AlertRule = Literal[
    "turn_failed",
    "turn_stuck",
    "engine_refused",
    "engine_down",
    "channel",
    "delivery_uncertain",
    "delivery_failed",
    "approval_waits",
    "part_down",
    "part_restarts",
    "disk",
    "target_failing",
    "key_budget",
]


class MetricsConfig(Section):
    """Where each part serves its figures for Prometheus, under /metrics."""

    host: str = Field(default="127.0.0.1", description="Address these ports listen on.")
    web_port: int | None = Field(
        default=None, ge=1, le=65535, description="Port of the web part's figures. Default: off."
    )
    worker_port: int | None = Field(
        default=None, ge=1, le=65535, description="Port of the worker's figures. Default: off."
    )
    courier_port: int | None = Field(
        default=None, ge=1, le=65535, description="Port of the courier's figures. Default: off."
    )
    token: SecretStr = Field(
        default=SecretStr(""),
        description="Bearer token that a scrape must carry; needed where `host` is not loopback.",
    )

    @model_validator(mode="after")
    def _is_guarded(self) -> "MetricsConfig":
        if self.host not in ("127.0.0.1", "::1", "localhost") and not self.token:
            raise ValueError("an address that others reach needs a token")
        return self


class TelemetryConfig(Section):
    """Spans for OpenTelemetry; nothing of it is loaded while there is no endpoint."""

    otlp_endpoint: str | None = Field(
        default=None,
        pattern="^https?://",
        description="Base URL of a collector that takes OTLP over HTTP, such as "
        "`http://127.0.0.1:4318`. Default: no spans are made.",
    )
    otlp_headers: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Headers of each request to the collector, such as its key.",
    )


class AlertsConfig(Section):
    """What operators are told of when it goes wrong, and where."""

    chats: tuple[str, ...] = Field(
        default=(),
        max_length=10,
        description="Chats that are told, by their session keys, `CHANNEL:ACCOUNT:CHAT`; somebody "
        "has to have written to the agent there before.",
    )
    webhook: SecretStr = Field(
        default=SecretStr(""), description="Address that gets each alert as JSON by POST."
    )
    rules: tuple[AlertRule, ...] = Field(
        default=get_args(AlertRule), description="What is told; the Alerts page explains each."
    )
    cool_down_s: float = Field(
        default=3600.0, ge=60.0, description="Seconds before the same is told again."
    )
    approval_wait_s: float = Field(
        default=1800.0,
        ge=60.0,
        description="Seconds that an approval may wait for an operator before it is told.",
    )
    disk_free_mib: int = Field(
        default=1024, ge=0, description="Less room than this in the data folder is told."
    )

    @field_validator("webhook")
    @classmethod
    def _is_url(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and not url.startswith(("https://", "http://")):
            raise ValueError("write the whole address, which begins with https://")
        return value


class LogConfig(Section):
    """What is written to the logs."""

    level: str = Field(
        default="info", pattern="^(debug|info|warning|error)$", description="Least level written."
    )
    json_lines: bool | None = Field(
        default=None, description="JSON lines; default: only where the output is not a terminal."
    )
