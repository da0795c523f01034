"""The ways to another engine: its Unix socket on this machine, or HTTP on its port."""

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from roost_inference.kv.handover.local import LENGTH_BYTES, is_own_socket
from roost_inference.kv.handover.source import SourceError
from roost_inference.request import KvOffer

CONNECT_S = 1.0
PIECE_BYTES = 2**18
LINE_BYTES_MAX = 64
LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
_REASONS = {401: "refused", 403: "refused", 404: "unknown_lease", 410: "lease_ended"}

Signal = Literal["renew", "release"]
# How long to wait for the next bytes, in seconds; raises SourceError once there is no time left.
Patience = Callable[[], float]
Frames = Generator[memoryview, None, None]


class Transport(Protocol):
    """One way to one engine. Both methods raise SourceError: with the reason "unreachable" where
    another way may still work."""

    name: str

    def blocks(self, keys: Sequence[bytes], patience: Patience, size_max: int) -> Frames:
        """The blocks of the keys, up to the first that is not there."""
        ...

    def signal(self, signal: Signal, timeout_s: float) -> None:
        """Renew or release the lease."""
        ...


@dataclass(frozen=True, slots=True)
class PeerAccess:
    """Which engines are asked for KV, and with which key. hosts: names or addresses, with a port
    where only one is meant; loopback always is one of them."""

    key: str = ""
    hosts: frozenset[str] = frozenset()

    def allows(self, host: str, port: int) -> bool:
        """Whether the engine of this address may be asked."""
        return bool({host, f"{host}:{port}"} & (LOOPBACK | self.hosts))

    def transports(self, offer: KvOffer) -> Iterator[Transport]:
        """The ways to the engine of an offer, the best first."""
        path = Path(offer.socket)
        if offer.socket and is_own_socket(path):
            yield LocalTransport(path, offer.request_id, self.key)
        if self.allows(offer.host, offer.port):
            yield HttpTransport(offer, self.key)


class LocalTransport:
    """Implements Transport over the Unix socket of `local.py`."""

    name = "unix"

    def __init__(self, path: Path, lease: str, key: str) -> None:
        self._path = path
        self._head = {"key": key, "lease": lease}

    def blocks(self, keys: Sequence[bytes], patience: Patience, size_max: int) -> Frames:
        """See Transport."""
        request = {"keys": [key.hex() for key in keys]}
        with _translated(), self._asked(request, patience()) as connection:
            self._check(connection, patience)
            for _ in keys:
                head = memoryview(bytearray(LENGTH_BYTES))
                if not _fill(connection, head, patience, may_end=True):
                    return
                data = memoryview(bytearray(_checked(int.from_bytes(head, "little"), size_max)))
                _fill(connection, data, patience)
                yield data

    def signal(self, signal: Signal, timeout_s: float) -> None:
        """See Transport."""
        with _translated(), self._asked({"signal": signal}, timeout_s) as connection:
            self._check(connection, lambda: timeout_s)

    def _asked(self, request: Mapping[str, object], timeout_s: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout_s)
            connection.connect(str(self._path))
            connection.sendall(json.dumps({**self._head, **request}).encode() + b"\n")
        except OSError:
            connection.close()
            raise
        return connection

    def _check(self, connection: socket.socket, patience: Patience) -> None:
        """Read the line before the blocks. Raises SourceError with what it says, if not `ok`."""
        line, byte = b"", memoryview(bytearray(1))
        while not line.endswith(b"\n") and len(line) < LINE_BYTES_MAX:
            _fill(connection, byte, patience)
            line += bytes(byte)
        word = line.decode("ascii", "replace").strip()
        if word != "ok":
            raise SourceError(word if word in _REASONS.values() else "bad_answer")


class HttpTransport:
    """Implements Transport over the engine's port."""

    name = "tcp"

    def __init__(self, offer: KvOffer, key: str) -> None:
        self._offer = offer
        self._headers = {"content-type": "application/json"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"

    def blocks(self, keys: Sequence[bytes], patience: Patience, size_max: int) -> Frames:
        """See Transport."""
        body = {"keys": [key.hex() for key in keys]}
        with (
            _translated(),
            contextlib.closing(self._connection()) as connection,
            self._posted(connection, "blocks", body, patience()) as answer,
        ):
            for _ in keys:
                head = memoryview(bytearray(LENGTH_BYTES))
                if not _receive(connection, answer, head, patience, may_end=True):
                    return
                data = memoryview(bytearray(_checked(int.from_bytes(head, "little"), size_max)))
                _receive(connection, answer, data, patience)
                yield data

    def signal(self, signal: Signal, timeout_s: float) -> None:
        """See Transport."""
        with _translated(), contextlib.closing(self._connection()) as connection:
            self._posted(connection, signal, {}, timeout_s).close()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._offer.host, self._offer.port, timeout=CONNECT_S)

    def _posted(
        self, connection: http.client.HTTPConnection, action: str, body: object, timeout_s: float
    ) -> http.client.HTTPResponse:
        path = f"/v1/kv/leases/{self._offer.request_id}/{action}"
        connection.connect()
        connection.sock.settimeout(timeout_s)
        connection.request("POST", path, json.dumps(body).encode(), self._headers)
        answer = connection.getresponse()
        if answer.status not in (200, 204):
            answer.close()
            raise SourceError(_REASONS.get(answer.status, "bad_answer"))
        return answer


def _fill(
    connection: socket.socket, data: memoryview, patience: Patience, *, may_end: bool = False
) -> bool:
    """Read until the memory is full. False at an end that may be there; SourceError at another."""
    done = 0
    while done < len(data):
        connection.settimeout(patience())
        count = connection.recv_into(data[done:])
        if not count:
            return _ended(may_end and not done)
        done += count
    return True


def _receive(
    connection: http.client.HTTPConnection,
    answer: http.client.HTTPResponse,
    data: memoryview,
    patience: Patience,
    *,
    may_end: bool = False,
) -> bool:
    """The same from the body of an answer."""
    done = 0
    while done < len(data):
        connection.sock.settimeout(patience())
        part = answer.read1(min(len(data) - done, PIECE_BYTES))
        if not part:
            return _ended(may_end and not done)
        data[done : done + len(part)] = part
        done += len(part)
    return True


def _ended(is_allowed: bool) -> bool:
    if not is_allowed:
        raise SourceError("cut_off")
    return False


def _checked(size: int, size_max: int) -> int:
    if not 0 < size <= size_max:
        raise SourceError("bad_answer")
    return size


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Errors of sockets and of HTTP as SourceError."""
    try:
        yield
    except TimeoutError as error:
        raise SourceError("silent", str(error)) from error
    except (http.client.IncompleteRead, ConnectionResetError, BrokenPipeError) as error:
        raise SourceError("cut_off", str(error)) from error
    except OSError as error:
        raise SourceError("unreachable", str(error)) from error
    except http.client.HTTPException as error:
        raise SourceError("bad_answer", repr(error)) from error
