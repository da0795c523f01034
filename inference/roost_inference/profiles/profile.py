"""A profile: the settings that decide how fast and how well the bundled core answers."""

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from roost_inference.config import EngineConfig
from roost_inference.errors import EngineUnavailable

FIELDS: Final = (
    *("model", "draft_model", "kv_type", "context_length"),
    *("threads", "speculation", "kernels"),
)
CUSTOM: Final = "custom"
PROFILES_MAX: Final = 64
# Each holds what differs from the engine's defaults.
BUILT_IN: Final[Mapping[str, Mapping[str, Any]]] = {
    "bundled": {},
    "bundled-compact": {"kv_type": "q8_0", "context_length": 8192},
    "bundled-plain": {"speculation": "off"},
}


@dataclass(frozen=True, slots=True)
class Profile:
    """A name and the values of FIELDS. model: None for the bundled one."""

    name: str
    config: EngineConfig

    @property
    def changes(self) -> dict[str, Any]:
        """What differs from the engine's defaults, as a settings file has it."""
        default = EngineConfig()
        values = ((name, getattr(self.config, name)) for name in FIELDS)
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in values
            if value != getattr(default, name)
        }

    def facts(self, model_sha256: str, draft_sha256: str, build: str) -> dict[str, str]:
        """What a measurement depends on: the files' contents, the settings, the kernels' build."""
        settings = {name: str(getattr(self.config, name)) for name in FIELDS[2:-1]}
        files = {"model_sha256": model_sha256, "draft_sha256": draft_sha256}
        return {**files, **settings, "kernels": build}


def key_of(facts: Mapping[str, str]) -> str:
    """Names a profile in the records by its facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def known_profiles(folder: Path) -> list[Profile]:
    """The built-in profiles, then those of the files `NAME.toml` in the folder. Raises
    EngineUnavailable for a file that is no profile."""
    found = [_profile(name, values) for name, values in BUILT_IN.items()]
    return [*found, *_of_files(folder)]


def profile_of(config: EngineConfig, known: Sequence[Profile]) -> Profile:
    """The profile that these settings are, CUSTOM if they are none that is known."""
    wanted = _values(config)
    for profile in known:
        if _values(profile.config) == wanted:
            return profile
    return Profile(CUSTOM, config)


def _of_files(folder: Path) -> Iterator[Profile]:
    for path in sorted(folder.glob("*.toml"))[:PROFILES_MAX]:
        if path.stem in BUILT_IN or path.stem == CUSTOM:
            raise EngineUnavailable(f"{path}: the name {path.stem} is taken; rename the file")
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise EngineUnavailable(f"{path} can't be read: {error}") from error
        if unknown := sorted(set(values) - set(FIELDS)):
            raise EngineUnavailable(
                f"{path}: {', '.join(unknown)} is not part of a profile; it may have: "
                f"{', '.join(FIELDS)}"
            )
        yield _profile(path.stem, values)


def _profile(name: str, values: Mapping[str, Any]) -> Profile:
    try:
        return Profile(name, EngineConfig.model_validate(dict(values)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise EngineUnavailable(f"The profile {name}: {where}: {first['msg']}") from error


def _values(config: EngineConfig) -> tuple[Any, ...]:
    return tuple(getattr(config, name) for name in FIELDS if name != "kernels")
