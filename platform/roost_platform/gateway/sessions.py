"""The hints that the gateway mints for the bundled core: whose prefix a prompt may share."""

import hashlib
from collections.abc import Mapping
from typing import Any

from roost_platform.gateway.keys.ports import GatewayKey
from roost_platform.gateway.request import ModelRequest

SESSION_CHARACTERS = 32


def hints_for(request: ModelRequest, key: GatewayKey) -> Mapping[str, Any]:
    """The salt of the key, and the session if the client names its conversation."""
    if not key.salt:
        return {}
    hints: dict[str, Any] = {"cache_salt": key.salt}
    if request.session:
        named = hashlib.sha256(f"{key.id}\0{request.session}".encode()).hexdigest()
        hints["session_id"] = f"gw-{named[:SESSION_CHARACTERS]}"
    return hints
