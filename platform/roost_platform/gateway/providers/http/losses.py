"""What is told of a connection that is lost: an error's own words name our key, or an address."""

import os

from roost_inference.errors import EngineUnavailable


def lost(error: BaseException | None, why: str = "") -> EngineUnavailable:
    """The error of a call whose connection has ended before its answer. error: None for a plain
    end.
    """
    return EngineUnavailable(f"The connection to the provider was lost: {why or reason_of(error)}")


def reason_of(error: BaseException | None) -> str:
    """What may be told of this error."""
    if error is None:
        return "it was closed"
    for one in (error, error.__cause__):
        if isinstance(one, OSError) and one.errno is not None and one.errno > 0:
            return os.strerror(one.errno)
    return type(error.__cause__ or error).__name__
