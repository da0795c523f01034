"""What a container of compose.yaml is told: the file .env, and over it what compose.yaml says."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from roost_platform.testing.processes import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
OURS: dict[str, dict[str, Any]] = {
    name: service for name, service in COMPOSE["services"].items() if "build" in service
}
PASSWORD = {"POSTGRES_PASSWORD": "secret"}
VARIABLE = re.compile(r"\$\{(\w+)(?:(:-|:\?)((?:[^${}]|\$\{[^{}]*\})*))?\}")


def interpolated(value: str, variables: Mapping[str, str]) -> str:
    """Put variables in by Compose's rules, as far as compose.yaml uses them."""

    def replace(match: re.Match[str]) -> str:
        name, how, rest = match.groups()
        if given := variables.get(name):
            return given
        assert how != ":?", f"{name}: {rest}"
        return interpolated(rest or "", variables)

    return VARIABLE.sub(replace, str(value))


def environment(service: str, env_file: Mapping[str, str]) -> dict[str, str]:
    """The variables of one of our containers. env_file: the lines of .env, beside the password."""
    assert OURS[service]["env_file"] == [{"path": ".env", "required": False}]
    variables = PASSWORD | dict(env_file)
    own = {k: interpolated(v, variables) for k, v in OURS[service]["environment"].items()}
    return variables | own
