"""Every setting in one place: the environment first, then roost.toml, then defaults."""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, create_model, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from roost_channels.config import ChannelConfig, DeliveryConfig, FilesConfig
from roost_channels.kinds import ChannelKind
from roost_channels.registry import BUILT_IN, Kinds, RegistrationError, load_kinds
from roost_inference.config import EngineConfig
from roost_platform.errors import ConfigError
from roost_platform.gateway.config import GatewayConfig, Models, Providers
from roost_platform.settings.approvals import ApprovalsConfig
from roost_platform.settings.problems import (
    explain,
    refuse_unknown_variables,
    refuse_unsendable_secrets,
)
from roost_platform.settings.schedules import SchedulesConfig
from roost_platform.settings.sections import (
    ConsoleConfig,
    DatabaseConfig,
    InboundConfig,
    RetentionConfig,
    SessionsConfig,
    TemporalConfig,
    WebConfig,
    inbound_model,
)
from roost_platform.settings.sources import (
    PREFIX,
    Kept,
    config_file,
    merge,
    read_environment,
    read_toml,
    variable_of,
)
from roost_platform.settings.watching import AlertsConfig, LogConfig, MetricsConfig, TelemetryConfig
from roost_workflows.config import WorkerConfig

TEMPORAL_PORT = 7233
ENGINE_PORT = 8421
WILDCARDS = ("0.0.0.0", "::", "")  # a server on one of these is reached on loopback


def default_data_dir() -> Path:
    """Return the folder of a stack's data when no setting names one."""
    return Path.home() / ".roost"


C = TypeVar("C", bound=ChannelConfig)


class Settings(BaseSettings):
    """The settings that every installation has. `settings_model` adds the channels' sections.

    kinds: the channels whose sections a model has.
    """

    kinds: ClassVar[Kinds] = ()

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="Folder of the database, the logs, the KV tiers and the local API token.",
    )
    public_base_url: str | None = Field(
        default=None,
        description="The https:// address under which providers and people reach us. "
        "Needed by webhooks: signatures are checked against it.",
    )
    agents: tuple[str, ...] = Field(
        default=(),
        description="Agents as `module:attribute`, besides the entry points `roost.agents`. "
        "The first one answers new conversations.",
    )
    channels: tuple[str, ...] = Field(
        default=(),
        description="Channels as `module:attribute`, besides the built-in ones; the attribute is a "
        "ChannelKind. Each adds its own section of settings.",
    )
    sandbox: bool = Field(
        default=False,
        description="Set by `roost up --sandbox`: the channels talk to the bundled fakes.",
    )
    providers: Providers = {}
    models: Models = {}
    database: DatabaseConfig = Field(default_factory=DatabaseConfig)
    temporal: TemporalConfig = Field(default_factory=TemporalConfig)
    engine: EngineConfig = Field(default_factory=EngineConfig)
    worker: WorkerConfig = Field(default_factory=WorkerConfig)
    sessions: SessionsConfig = Field(default_factory=SessionsConfig)
    inbound: InboundConfig = Field(default_factory=InboundConfig)
    approvals: ApprovalsConfig = Field(default_factory=ApprovalsConfig)
    schedules: SchedulesConfig = Field(default_factory=SchedulesConfig)
    delivery: DeliveryConfig = Field(default_factory=DeliveryConfig)
    files: FilesConfig = Field(default_factory=FilesConfig)
    retention: RetentionConfig = Field(default_factory=RetentionConfig)
    web: WebConfig = Field(default_factory=WebConfig)
    console: ConsoleConfig = Field(default_factory=ConsoleConfig)
    gateway: GatewayConfig = Field(default_factory=GatewayConfig)
    alerts: AlertsConfig = Field(default_factory=AlertsConfig)
    log: LogConfig = Field(default_factory=LogConfig)
    metrics: MetricsConfig = Field(default_factory=MetricsConfig)
    telemetry: TelemetryConfig = Field(default_factory=TelemetryConfig)

    @field_validator("public_base_url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        url = urlsplit(value or "https://none")
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
            raise ValueError("write the whole address, such as https://roost.example.org")
        return value

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _config_file: Path | None = PrivateAttr(default=None)
    _given: dict[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing implicitly: `load_settings` reads the sources and records them."""
        return (init_settings,)

    @property
    def config_file(self) -> Path | None:
        """The TOML file that was read."""
        return self._config_file

    @property
    def given(self) -> Mapping[str, Any]:
        """The values that are not defaults, as they were written, nested like the sections."""
        return self._given

    @property
    def origins(self) -> Mapping[str, str]:
        """Where each value that is no default came from, by its path."""
        return self._origins

    @property
    def web_url(self) -> str:
        """The console's address for people: the public one if there is one."""
        if self.public_base_url:
            return self.public_base_url.rstrip("/")
        host = "127.0.0.1" if self.web.host in WILDCARDS else self.web.host
        return f"http://{host}:{self.web.port}"

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL in use."""
        return self.database.full_url or f"sqlite:///{self.data_dir / 'roost.db'}"

    @property
    def temporal_address(self) -> str:
        """host:port of the Temporal frontend in use."""
        return self.temporal.address or f"127.0.0.1:{TEMPORAL_PORT}"

    @property
    def engine_url(self) -> str:
        """Base URL of the inference engine in use: the first one named, or the bundled core."""
        return self.engine_urls[0]

    @property
    def engine_urls(self) -> tuple[str, ...]:
        """Base URLs of the engines that answer: those named, or the bundled core."""
        bundled = f"http://{self.engine.host}:{self.engine.port or ENGINE_PORT}"
        return self.engine.urls or (bundled,)

    def channel(self, kind: ChannelKind[C]) -> C:
        """Return the settings of a channel; the defaults for one without a section."""
        if not kind.section:
            return kind.config()
        config = getattr(self, kind.section)
        assert isinstance(config, kind.config)
        return config

    def accounts(self) -> Iterator[tuple[ChannelKind[Any], ChannelConfig]]:
        """Yield every configured account.

        In the sandbox a channel without a fake is left out: nothing may reach a real network.
        """
        for kind in self.kinds:
            config = self.channel(kind)
            is_faked = kind.sandbox is not None or not kind.section
            if config.configured and (is_faked or not self.sandbox):
                yield kind, config

    def origin(self, path: str) -> str:
        """Return a value's source: `environment`, a file's path, `command line` or `default`."""
        return self._origins.get(path, "default")


@cache
def settings_model(kinds: Kinds = BUILT_IN) -> type[Settings]:
    """Return the class of all settings of an installation with these channels.

    An instance made directly has the defaults; `load_settings` reads the environment and the file.
    """
    sections: dict[str, Any] = {
        kind.section: (kind.config, Field(default_factory=kind.config))
        for kind in kinds
        if kind.section
    }
    inbound = inbound_model({kind.channel: kind.label for kind in kinds})
    sections["inbound"] = (inbound, Field(default_factory=inbound))
    if taken := sorted(set(sections) & set(Settings.model_fields) - {"inbound"}):
        raise ConfigError(f"A channel can't have the section {taken[0]}: it is Roost's own.")
    model = create_model("Settings", __base__=Settings, **sections)
    model.kinds = kinds
    return model


def load_settings(
    overrides: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    kept: Kept | None = None,
) -> Settings:
    """Read and check every setting. `overrides` are the command line's, nested like the sections.

    kept: settings that a stack on this folder was started with. Raises ConfigError, which names
    each wrong or unknown key and where it stands.
    """
    env = os.environ if environ is None else environ
    if kept is not None and kept.is_running:
        env = {}
    overridden = dict(overrides or {})
    # What every installation has comes first: it says which channels there are.
    first = read_environment(Settings, env)
    data_dir = Path(overridden.get("data_dir") or first.get("data_dir") or default_data_dir())
    file = None if kept and kept.is_running else config_file(env, data_dir.expanduser())
    from_file = read_toml(file) if file else {}
    from_start = kept.values if kept else {}
    model = settings_model(_kinds(overridden, first, from_start, from_file))
    names = [variable_of(path) for path, _ in walk_fields(model)]
    refuse_unknown_variables(env, model.model_fields, names)
    origins: dict[str, str] = {}
    merged: dict[str, Any] = {}
    merge(merged, from_file, str(file), origins)
    if kept is not None:
        merge(merged, from_start, "", origins)
        origins |= kept.origins
    merge(merged, read_environment(model, env), "environment", origins)
    merge(merged, overridden, "command line", origins)
    try:
        settings = model(**merged)
    except ValidationError as error:
        raise ConfigError(explain(error, origins, names)) from None
    refuse_unsendable_secrets(settings, origins)
    data_dir = settings.data_dir.expanduser().absolute()
    settings = settings.model_copy(update={"data_dir": data_dir})
    settings._origins, settings._config_file, settings._given = origins, file, merged
    return settings


def _kinds(*sources: Mapping[str, Any]) -> Kinds:
    """Load the channels that the first of these sources names, and the built-in ones."""
    names: Any = next((source["channels"] for source in sources if source.get("channels")), ())
    if not isinstance(names, Sequence) or isinstance(names, str):
        raise ConfigError('channels: write a list, such as ["module:KIND"].')
    try:
        return load_kinds(tuple(str(name) for name in names))
    except RegistrationError as error:
        raise ConfigError(f"channels: {error}.") from None


def walk_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every leaf setting as (dotted path, field); paths use the names people write."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from walk_fields(field.annotation, f"{path}.")
        else:
            yield path, field
