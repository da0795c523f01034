"""Writes JSON as clients and providers get it."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pydantic_core

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode(value: Any) -> bytes:
    """JSON as it goes over the wire, with null for numbers that JSON has no word for."""
    try:
        return pydantic_core.to_json(value, inf_nan_mode="null")
    except ValueError:  # a lone surrogate, or a value that is nested deeply
        pass
    try:
        return _encode(value).encode()
    except ValueError:
        return json.dumps(_finite(value)).encode()


def _finite(value: Any) -> Any:
    """The value with null in the place of NaN and infinite numbers, which some providers send."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
