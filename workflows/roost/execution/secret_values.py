"""Values that hide themselves when they are written: JSON of them holds asterisks and no secret."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

SECRETS: Final = (SecretStr, SecretBytes, Secret)
LEVELS_MAX: Final = 64  # of values within values; what is nested deeper is refused elsewhere


def has_secret(value: Any, levels: int = LEVELS_MAX) -> bool:
    """Whether the value is one that hides itself, or holds one."""
    if isinstance(value, SECRETS):
        return True
    if levels == 0 or isinstance(value, str | bytes):
        return False
    held: list[Any] = []
    if isinstance(value, BaseModel):
        held = [*value.__dict__.values(), *(value.model_extra or {}).values()]
    elif is_dataclass(value):
        held = [getattr(value, field.name, None) for field in fields(value)]
    elif isinstance(value, Mapping):
        held = list(value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        held = list(value)
    return any(has_secret(one, levels - 1) for one in held)
