"""What is wrong with settings, in words that name the key and where it stands."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from roost_platform.errors import ConfigError
from roost_platform.settings.sources import PREFIX, variable_of

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
# Secrets that go into the headers of requests, by the ends of their names. Others, such as the
# database's password, may hold any character.
IN_HEADERS = ("api_key", "token")
IN_HEADERS_BUT = ("verify_token",)  # a word that a network repeats in an address


def refuse_unknown_variables(
    variables: Iterable[str], sections: Iterable[str], names: Sequence[str]
) -> None:
    """Raise ConfigError for a variable of ours that no section has.

    sections: the names of the groups. names: the variables of all settings, for a suggestion.
    """
    known = {name.upper() for name in sections}
    for name in sorted(variables):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in RESERVED:
            continue
        if upper.startswith(RESERVED_PREFIXES):
            continue
        if upper.removeprefix(PREFIX).split("__")[0] not in known:
            raise ConfigError(f"{name} (environment) is not a setting.{_suggest(upper, names)}")


def explain(error: ValidationError, origins: Mapping[str, str], names: Sequence[str]) -> str:
    """Return one line for each wrong or unknown key. names: the variables of all settings."""
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        path = ".".join(str(part) for part in problem["loc"])
        source = origins.get(path, "")
        name = variable_of(path) if source.startswith("environment") else path
        where = f" ({source})" if source else ""
        if problem["type"] == "extra_forbidden":
            lines.append(f"{name}{where} is not a setting.{_suggest(variable_of(path), names)}")
        else:
            reason = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{name}{where}: {reason}.")
    return "\n".join(lines)


def refuse_unsendable_secrets(settings: BaseModel, origins: Mapping[str, str]) -> None:
    """Raise ConfigError for a key or token that no header can carry, such as `sk-…` of a page."""
    lines = []
    for path, secret in _secrets(settings):
        if not _goes_into_a_header(path):
            continue
        wrong = next((each for each in secret if not " " <= each <= "~"), None)
        if wrong is not None:
            source = origins.get(path, "")
            name = variable_of(path) if source.startswith("environment") else path
            where = f" ({source})" if source else ""
            lines.append(
                f"{name}{where}: {wrong!r} is no character of a key; write the key itself."
            )
    if lines:
        raise ConfigError("\n".join(lines))


def _goes_into_a_header(path: str) -> bool:
    is_named = path.endswith(IN_HEADERS) and not path.endswith(IN_HEADERS_BUT)
    return is_named or ".otlp_headers." in path


def _secrets(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each secret in settings, tables included."""
    if isinstance(value, SecretStr):
        yield path, value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            inner = f"{path}.{field.alias or name}".removeprefix(".")
            yield from _secrets(getattr(value, name), inner)
    elif isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _secrets(entry, f"{path}.{name}")


def _suggest(variable: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(variable, names, n=1)
    return f" Did you mean {close[0]}?" if close else ""
