"""Writes JSON as clients and providers get it."""

import json
import math
from collections.abc import Mapping
from typing import Any

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode(value: Any) -> bytes:
    """JSON as it goes over the wire."""
    try:
        return _encode(value).encode()
    except ValueError:  # a lone surrogate, or a number that JSON has no word for
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
