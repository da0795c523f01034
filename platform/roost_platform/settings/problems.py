"""What is wrong with settings, in words that name the key and where it stands."""

import difflib
from collections.abc import Iterable, Mapping, Sequence

from pydantic import ValidationError

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


def _suggest(variable: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(variable, names, n=1)
    return f" Did you mean {close[0]}?" if close else ""
