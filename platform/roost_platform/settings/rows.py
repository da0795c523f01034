"""Settings as people may see them: names, values with secrets hidden, and where each came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from roost_platform.masking import hide_secrets
from roost_platform.settings.config import Settings, walk_fields
from roost_platform.settings.sources import variable_of


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting for people: its names, its value (secrets hidden) and where it came from."""

    path: str
    variable: str
    kind: str
    default: str
    value: str
    origin: str
    secret: bool
    help: str


def setting_rows(settings: Settings) -> list[SettingRow]:
    """Return every setting as operators may see it, in the order of the fields."""
    return [
        SettingRow(
            path=path,
            variable=variable_of(path),
            kind=_kind(field),
            default=_default(path, field),
            value=_shown(_value_at(settings, path)),
            origin=settings.origin(path),
            secret=_is_secret(field),
            help=field.description or "",
        )
        for path, field in walk_fields(type(settings))
    ]


def entry_rows(path: str, model: type[BaseModel]) -> list[SettingRow]:
    """Return what an entry of a table holds; `path` is the entry's, with `<NAME>` for its name.

    A path without a dot is that of a table in a list, whose keys stand in the file alone.
    """
    prefix = f"{path}." if path else ""
    return [
        SettingRow(
            path=f"{prefix}{name}",
            variable=variable_of(f"{prefix}{name}") if "." in path else f"{prefix}{name}",
            kind=_kind(field),
            default="" if field.is_required() else _default(name, field),
            value="",
            origin="",
            secret=_is_secret(field),
            help=field.description or "",
        )
        for name, field in model.model_fields.items()
    ]


def _default(path: str, field: FieldInfo) -> str:
    if path == "data_dir":  # not this machine's home
        return "~/.roost"
    return _shown(field.get_default(call_default_factory=True))


def _value_at(settings: Settings, path: str) -> Any:
    value: Any = settings
    for part in path.split("."):
        names = {field.alias or name: name for name, field in type(value).model_fields.items()}
        value = getattr(value, names[part])
    return value


_KINDS: dict[Any, str] = {str: "text", int: "number", float: "number", bool: "yes or no"}


def _kind(field: FieldInfo) -> str:
    text = str(field.annotation)
    if _is_secret(field):
        return "secret"
    if "Literal[" in text:
        inner = text.split("Literal[", 1)[1].split("]", 1)[0]
        return " or ".join(part.strip().strip("'\"") for part in inner.split(","))
    if "Path" in text:
        return "path"
    if text.startswith(("tuple", "list")):
        return "list"
    if "Mapping" in text or "dict" in text:
        return "table"
    for kind, name in _KINDS.items():
        if field.annotation is kind or text.startswith(f"{kind.__name__} |"):
            return name
    return "text"


def _is_secret(field: FieldInfo) -> bool:
    return "SecretStr" in str(field.annotation)


def _shown(value: Any) -> str:
    if value is None or value == () or value == {}:
        return ""
    if isinstance(value, SecretStr):
        return "set" if value.get_secret_value() else ""
    if isinstance(value, Mapping):
        return ", ".join(str(key) for key in value)
    if isinstance(value, tuple):
        return ", ".join(hide_secrets(str(item)) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return hide_secrets(str(value)) if isinstance(value, str | Path) else str(value)
