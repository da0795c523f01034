"""The network to an engine: which hosts are this machine, and what its errors mean."""

import contextlib
from collections.abc import Iterator
from ipaddress import ip_address

import httpx2

from roost_inference.errors import EngineSilent, EngineUnavailable


def is_loopback(host: str) -> bool:
    """Whether this host is the machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.contextmanager
def network_errors() -> Iterator[None]:
    """Turn every error of the network into EngineUnavailable."""
    try:
        yield
    except httpx2.ConnectTimeout as error:
        raise EngineUnavailable("The engine does not answer") from error
    except httpx2.ConnectError as error:
        raise EngineUnavailable(f"The engine can't be reached: {error}") from error
    except httpx2.TimeoutException as error:
        raise EngineSilent("The engine has gone silent") from error
    except httpx2.RequestError as error:
        raise EngineUnavailable(f"The connection to the engine was lost: {error!r}") from error
