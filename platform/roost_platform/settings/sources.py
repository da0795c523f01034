"""The sources of settings: the environment and one TOML file."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from roost_platform.errors import ConfigError

PREFIX = "ROOST_"


def variable_of(path: str) -> str:
    """`engine.url` → `ROOST_ENGINE__URL`."""
    return PREFIX + path.replace(".", "__").upper()


@dataclass(frozen=True, slots=True)
class Kept:
    """Settings that a stack was started with: values nested like the sections, origins by path.

    They count above the file and below the environment; those of a running stack instead of both.
    """

    values: Mapping[str, Any]
    origins: Mapping[str, str]
    is_running: bool = False


class _Environment(EnvSettingsSource):
    """pydantic-settings' own reader, except that lists may also be written with commas."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        text = str(value).strip()
        if text.startswith(("[", "{")):
            return super().decode_complex_value(field_name, field, text)
        return [item.strip() for item in text.split(",") if item.strip()]


def read_environment(model: type[BaseSettings], env: Mapping[str, str]) -> dict[str, Any]:
    """Return the environment's values of this model's fields, nested; raises ConfigError."""
    source = _Environment(model)
    source.env_vars = {key.lower(): value for key, value in env.items() if value != ""}
    try:
        return source()
    except (ValueError, TypeError) as error:
        raise ConfigError(f"The environment can't be read: {error}") from None


def config_file(env: Mapping[str, str], data_dir: Path) -> Path | None:
    """Return the one file that is read: ROOST_CONFIG, else ./roost.toml, else DATA/roost.toml."""
    named = env.get("ROOST_CONFIG")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"ROOST_CONFIG names {named}, which is not a file.")
        return Path(named).absolute()
    for candidate in (Path("roost.toml"), data_dir / "roost.toml"):
        if candidate.is_file():
            return candidate.absolute()
    return None


def read_toml(file: Path) -> dict[str, Any]:
    """Return the whole file; raises ConfigError if it is not TOML."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} can't be read: {error}") from None


def merge(
    into: dict[str, Any],
    data: Mapping[str, Any],
    source: str,
    origins: dict[str, str],
    prefix: str = "",
) -> None:
    """Put values over others, and record for each path which source its value is from."""
    for key, value in data.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and isinstance(into.setdefault(key, {}), dict):
            merge(into[key], value, source, origins, f"{path}.")
            continue
        into[key] = value
        origins[path] = source
