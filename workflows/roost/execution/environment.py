"""The environment of programs that tools run in: without the secrets of the platform."""

import os
from collections.abc import Mapping
from typing import Final

# Roost's settings, among them tokens, keys and passwords. Tools that need a secret of their own
# read it from a variable with another name.
PLATFORM_PREFIX: Final = "ROOST_"


def tool_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Every variable but the platform's own."""
    return {
        name: value
        for name, value in environ.items()
        if not name.upper().startswith(PLATFORM_PREFIX)
    }
