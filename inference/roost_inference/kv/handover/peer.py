"""Another engine that offers KV, over a Unix socket of this machine or over TCP; both speak HTTP.

An answer is a row of blocks, each behind eight bytes with its length, the lowest byte first. It
ends early where a block is not there.
"""

import http.client
import json
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from roost_inference.kv.handover.source import SourceError
from roost_inference.kv.tiers.lanes import Lane
from roost_inference.request import KvOffer

CONNECT_S = 1.0
# A peer that sends nothing for so long is given up.
SILENCE_S = 3.0
SIGNAL_S = 1.0
KEYS_PER_READ = 64
LENGTH_BYTES = 8
PIECE_BYTES = 2**18
LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
SOCKET_PREFIX = "kv-"
_REASONS = {401: "refused", 403: "refused", 404: "unknown_lease", 410: "lease_ended"}

Signal = Literal["renew", "release"]
Connection = http.client.HTTPConnection


def socket_folder() -> Path:
    """Where the engines of this user have their Unix sockets: no other user can open it."""
    return Path(tempfile.gettempdir()) / f"roost-{os.getuid()}"


@dataclass(frozen=True, slots=True)
class PeerAccess:
    """Which engines are asked for KV, and with which key. hosts: names or addresses, with a port
    where only one is meant; loopback always is one of them."""

    key: str = ""
    hosts: frozenset[str] = frozenset()

    def allows(self, host: str, port: int) -> bool:
        """Whether the engine of this address may be asked."""
        return bool({host, f"{host}:{port}"} & (LOOPBACK | self.hosts))

    def connections(self, offer: KvOffer) -> Iterator[tuple[str, Callable[[float], Connection]]]:
        """The ways to the engine of an offer, the best first: a name, and what opens one with a
        time-out in seconds."""
        path = Path(offer.socket)
        if offer.socket and _is_own_socket(path):
            yield "unix", lambda timeout_s: UnixConnection(path, timeout_s)
        if self.allows(offer.host, offer.port):
            yield "tcp", lambda timeout_s: Connection(offer.host, offer.port, timeout=timeout_s)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        self.sock.connect(str(self._path))


class Peer:
    """The engine of one offer. Used by one thread at a time."""

    def __init__(self, offer: KvOffer, access: PeerAccess) -> None:
        self.transport = "tcp"
        self._offer = offer
        self._access = access

    def post(
        self, action: str, body: object, timeout_s: float
    ) -> tuple[Connection, http.client.HTTPResponse]:
        """Ask it by the first way that connects. The caller closes the connection. Raises
        SourceError."""
        path = f"/v1/kv/leases/{self._offer.request_id}/{action}"
        headers = {"content-type": "application/json"}
        if self._access.key:
            headers["authorization"] = f"Bearer {self._access.key}"
        data, problem = json.dumps(body).encode(), SourceError("peer_not_allowed")
        for name, opened in self._access.connections(self._offer):
            connection = opened(min(timeout_s, CONNECT_S))
            try:
                connection.connect()
                connection.sock.settimeout(timeout_s)
                connection.request("POST", path, data, headers)
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                problem = _problem(error)
                if isinstance(error, TimeoutError):
                    break  # it hangs, whatever the way to it
                continue
            self.transport = name
            return connection, answer
        raise problem

    def signal(self, signal: Signal) -> None:
        """Renew or release the lease, if the engine can be reached; never raises."""
        try:
            connection, answer = self.post(signal, {}, SIGNAL_S)
        except SourceError:
            return
        answer.close()
        connection.close()


class PeerSource:
    """Implements KvSource over one offer. signals: a lane for what nobody waits for."""

    def __init__(
        self,
        offer: KvOffer,
        access: PeerAccess,
        signals: Lane,
        *,
        clock: Callable[[], float],
        block_bytes_max: int,
    ) -> None:
        self._offer = offer
        self._access = access
        self._signals = signals
        self._clock = clock
        self._block_bytes_max = block_bytes_max
        self._peer = Peer(offer, access)

    @property
    def name(self) -> str:
        """The way that was taken."""
        return self._peer.transport

    def read(self, keys: Sequence[bytes], deadline: float) -> Generator[memoryview, None, None]:
        """See KvSource."""
        for start in range(0, len(keys), KEYS_PER_READ):
            wanted = keys[start : start + KEYS_PER_READ]
            body = {"keys": [key.hex() for key in wanted]}
            connection, answer = self._peer.post("blocks", body, self._patience(deadline))
            try:
                if answer.status != 200:
                    raise SourceError(_REASONS.get(answer.status, "bad_answer"))
                for _ in wanted:
                    head = self._fill(connection, answer, LENGTH_BYTES, deadline, may_end=True)
                    if head is None:
                        return
                    size = int.from_bytes(head, "little")
                    if not 0 < size <= self._block_bytes_max:
                        raise SourceError("bad_answer")
                    block = self._fill(connection, answer, size, deadline)
                    if block is not None:
                        yield block
            finally:
                answer.close()
                connection.close()

    def _fill(
        self,
        connection: Connection,
        answer: http.client.HTTPResponse,
        size: int,
        deadline: float,
        *,
        may_end: bool = False,
    ) -> memoryview | None:
        """The next bytes of an answer, None at its end where it may end. A peer that sends them one
        by one ends with the deadline."""
        data, done = memoryview(bytearray(size)), 0
        while done < size:
            connection.sock.settimeout(self._patience(deadline))
            try:
                part = answer.read1(min(size - done, PIECE_BYTES))
            except (OSError, http.client.HTTPException) as error:
                raise _problem(error) from error
            if not part:
                if may_end and not done:
                    return None
                raise SourceError("cut_off")
            data[done : done + len(part)] = part
            done += len(part)
        return data

    def _patience(self, deadline: float) -> float:
        left = deadline - self._clock()
        if left <= 0:
            raise SourceError("too_slow")
        return min(left, SILENCE_S)

    def renew(self) -> None:
        """See KvSource."""
        self._signal("renew")

    def release(self) -> None:
        """See KvSource."""
        self._signal("release")

    def _signal(self, signal: Signal) -> None:
        peer = Peer(self._offer, self._access)
        self._signals.submit(lambda: peer.signal(signal))


def _problem(error: Exception) -> SourceError:
    if isinstance(error, TimeoutError):
        return SourceError("silent", str(error))
    if isinstance(error, http.client.IncompleteRead):
        return SourceError("cut_off", str(error))
    reason = "unreachable" if isinstance(error, OSError) else "bad_answer"
    return SourceError(reason, str(error) or repr(error))


def _is_own_socket(path: Path) -> bool:
    """Whether it is an engine's socket of this user: a request must not name any other."""
    if path.parent != socket_folder() or not path.name.startswith(SOCKET_PREFIX):
        return False
    try:
        folder, own = path.parent.lstat(), path.lstat()
    except OSError:
        return False
    is_private = stat.S_ISDIR(folder.st_mode) and not folder.st_mode & 0o077
    owners = {folder.st_uid, own.st_uid}
    return is_private and stat.S_ISSOCK(own.st_mode) and owners == {os.getuid()}
