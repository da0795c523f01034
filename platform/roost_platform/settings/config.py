"""Every setting in one place: the environment first, then roost.toml, then defaults."""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from roost_channels.config import (
    DeliveryConfig,
    FilesConfig,
    TelegramConfig,
    TwilioConfig,
    WhatsAppCloudConfig,
)
from roost_inference.config import EngineConfig
from roost_platform.errors import ConfigError
from roost_platform.settings.sections import (
    ConsoleConfig,
    DatabaseConfig,
    InboundConfig,
    LogConfig,
    SessionsConfig,
    TemporalConfig,
    WebConfig,
)
from roost_workflows.config import WorkerConfig

PREFIX = "ROOST_"
# Not settings: where to find the file, and how the parts of one stack find each other.
RESERVED = {
    "ROOST_CONFIG",
    "ROOST_URL",
    "ROOST_API_TOKEN",
    "ROOST_BEAT_PIPE",
    "ROOST_READY_FILE",
    "ROOST_SUPERVISOR_PID",
}
RESERVED_PREFIXES = ("ROOST_TEST_",)
TEMPORAL_PORT = 7233
ENGINE_PORT = 8421


def default_data_dir() -> Path:
    """Where a stack keeps its data when nothing says otherwise."""
    return Path.home() / ".roost"


class Settings(BaseSettings):
    """All settings. Made by `load_settings`; `Settings(…)` alone reads nothing from outside."""

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
    sandbox: bool = Field(
        default=False,
        description="Set by `roost up --sandbox`: the channels talk to the bundled fakes.",
    )
    database: DatabaseConfig = Field(default_factory=DatabaseConfig)
    temporal: TemporalConfig = Field(default_factory=TemporalConfig)
    engine: EngineConfig = Field(default_factory=EngineConfig)
    worker: WorkerConfig = Field(default_factory=WorkerConfig)
    sessions: SessionsConfig = Field(default_factory=SessionsConfig)
    telegram: TelegramConfig = Field(default_factory=TelegramConfig)
    twilio: TwilioConfig = Field(default_factory=TwilioConfig)
    whatsapp_cloud: WhatsAppCloudConfig = Field(default_factory=WhatsAppCloudConfig)
    inbound: InboundConfig = Field(default_factory=InboundConfig)
    delivery: DeliveryConfig = Field(default_factory=DeliveryConfig)
    files: FilesConfig = Field(default_factory=FilesConfig)
    web: WebConfig = Field(default_factory=WebConfig)
    console: ConsoleConfig = Field(default_factory=ConsoleConfig)
    log: LogConfig = Field(default_factory=LogConfig)

    @field_validator("public_base_url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        url = urlsplit(value or "https://none")
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
            raise ValueError("write the whole address, such as https://roost.example.org")
        return value

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _config_file: Path | None = PrivateAttr(default=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing is read implicitly: `load_settings` hands over what it found, and knows where."""
        return (init_settings,)

    @property
    def config_file(self) -> Path | None:
        """The TOML file that was read."""
        return self._config_file

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL in use."""
        if self.database.url is not None:
            url = self.database.url.get_secret_value()
            password = self.database.password.get_secret_value()
            return url if not password else _with_password(url, password)
        return f"sqlite:///{self.data_dir / 'roost.db'}"

    @property
    def temporal_address(self) -> str:
        """host:port of the Temporal frontend in use."""
        return self.temporal.address or f"127.0.0.1:{TEMPORAL_PORT}"

    @property
    def engine_url(self) -> str:
        """Base URL of the inference engine in use: the one named, or the bundled core."""
        if self.engine.url:
            return self.engine.url.rstrip("/")
        return f"http://{self.engine.host}:{self.engine.port or ENGINE_PORT}"

    def origin(self, path: str) -> str:
        """Where a value came from: `environment`, a file's path, `command line` or `default`."""
        return self._origins.get(path, "default")


def _with_password(url: str, password: str) -> str:
    """The URL with this password in its user part, quoted."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    user = user.partition(":")[0]
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}").geturl()


class _Environment(EnvSettingsSource):
    """pydantic-settings' own reader, except that lists may also be written with commas."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        text = str(value).strip()
        if text.startswith(("[", "{")):
            return super().decode_complex_value(field_name, field, text)
        return [item.strip() for item in text.split(",") if item.strip()]


def load_settings(
    overrides: Mapping[str, Any] | None = None, *, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read and check every setting. `overrides` are the command line's, nested like the sections.

    Raises ConfigError, which names each wrong or unknown key and where it stands.
    """
    env = os.environ if environ is None else environ
    _refuse_unknown_variables(env)
    given = dict(overrides or {})
    from_environment = _read_environment(env)
    file = _config_file(given, from_environment, env)
    from_file = _read_toml(file) if file else {}
    origins: dict[str, str] = {}
    merged: dict[str, Any] = {}
    for source, data in ((str(file), from_file), ("environment", from_environment)):
        _merge(merged, data, source, origins)
    _merge(merged, given, "command line", origins)
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        raise ConfigError(_explain(error, origins)) from None
    data_dir = settings.data_dir.expanduser().absolute()
    settings = settings.model_copy(update={"data_dir": data_dir})
    settings._origins, settings._config_file = origins, file
    return settings


def walk_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every leaf setting as (dotted path, field); paths use the names people write."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from walk_fields(field.annotation, f"{path}.")
        else:
            yield path, field


def variable_of(path: str) -> str:
    """`engine.url` → `ROOST_ENGINE__URL`."""
    return PREFIX + path.replace(".", "__").upper()


def _refuse_unknown_variables(env: Mapping[str, str]) -> None:
    known = {name.upper() for name in Settings.model_fields}
    for name in sorted(env):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in RESERVED:
            continue
        if upper.startswith(RESERVED_PREFIXES):
            continue
        if upper.removeprefix(PREFIX).split("__")[0] not in known:
            raise ConfigError(f"{name} (environment) is not a setting.{_suggest(upper)}")


def _suggest(variable: str) -> str:
    names = [variable_of(path) for path, _ in walk_fields(Settings)]
    close = difflib.get_close_matches(variable, names, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _read_environment(env: Mapping[str, str]) -> dict[str, Any]:
    source = _Environment(Settings)
    source.env_vars = {key.lower(): value for key, value in env.items() if value != ""}
    try:
        return source()
    except (ValueError, TypeError) as error:
        raise ConfigError(f"The environment can't be read: {error}") from None


def _config_file(
    given: Mapping[str, Any], from_environment: Mapping[str, Any], env: Mapping[str, str]
) -> Path | None:
    """The one file that is read: ROOST_CONFIG, else ./roost.toml, else DATA/roost.toml."""
    named = env.get("ROOST_CONFIG")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"ROOST_CONFIG names {named}, which is not a file.")
        return Path(named).absolute()
    data_dir = Path(
        given.get("data_dir") or from_environment.get("data_dir") or default_data_dir()
    ).expanduser()
    for candidate in (Path("roost.toml"), data_dir / "roost.toml"):
        if candidate.is_file():
            return candidate.absolute()
    return None


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} can't be read: {error}") from None


def _merge(
    into: dict[str, Any],
    data: Mapping[str, Any],
    source: str,
    origins: dict[str, str],
    prefix: str = "",
) -> None:
    for key, value in data.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and isinstance(into.setdefault(key, {}), dict):
            _merge(into[key], value, source, origins, f"{path}.")
            continue
        into[key] = value
        origins[path] = source


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        path = ".".join(str(part) for part in problem["loc"])
        source = origins.get(path, "")
        name = variable_of(path) if source == "environment" else path
        where = f" ({source})" if source else ""
        if problem["type"] == "extra_forbidden":
            lines.append(f"{name}{where} is not a setting.{_suggest(variable_of(path))}")
        else:
            reason = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{name}{where}: {reason}.")
    return "\n".join(lines)
