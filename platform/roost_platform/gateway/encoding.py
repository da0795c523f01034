"""Writes JSON as clients and providers get it."""

import json
from typing import Any

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(value: Any) -> bytes:
    """JSON as it goes over the wire."""
    try:
        return _encode(value).encode()
    except UnicodeEncodeError:  # a lone surrogate
        return json.dumps(value).encode()
