"""The Unix socket over which engines of one user and machine fetch KV: a third of HTTP's cost.

A connection has one request, a line of JSON with the engine's key, a lease, and either a signal or
keys. The answer is a line with `ok` or why not; behind it, for keys, come the blocks, each behind
eight bytes with its length, up to the first that is not there.
"""

import contextlib
import hmac
import json
import logging
import os
import secrets
import socket
import stat
import tempfile
import threading
from pathlib import Path
from typing import Any

from roost_inference.kv.handover.leases import OPEN_STATES
from roost_inference.kv.handover.offers import Offers

CONNECTIONS_MAX = 16
REQUEST_BYTES_MAX = 16 * 2**10
REQUEST_S = 5.0
# How long a reader may read nothing.
UNREAD_S = 30.0
STALE_LOOKED_AT_MAX = 64
BACKLOG = 64
LENGTH_BYTES = 8
KEYS_MAX = 64
PREFIX, SUFFIX = "kv-", ".sock"

log = logging.getLogger(__name__)


def socket_folder() -> Path:
    """Where the engines of this user have their sockets: no other user can open it."""
    return Path(tempfile.gettempdir()) / f"roost-{os.getuid()}"


def is_own_socket(path: Path) -> bool:
    """Whether it is an engine's socket of this user: a request must not name any other."""
    if path.parent != socket_folder() or not path.name.startswith(PREFIX):
        return False
    try:
        state = path.lstat()
        return _is_private(path.parent) and stat.S_ISSOCK(state.st_mode)
    except OSError:
        return False


def _is_private(folder: Path) -> bool:
    state = folder.lstat()
    is_closed = stat.S_ISDIR(state.st_mode) and not state.st_mode & 0o077
    return is_closed and state.st_uid == os.getuid()


class LocalServer:
    """Serves an engine's leases on threads of its own, one for each connection. key: the engine's,
    empty where it asks for none."""

    def __init__(self, offers: Offers, key: str) -> None:
        self._offers = offers
        self._key = key.encode()
        self._places = threading.Semaphore(CONNECTIONS_MAX)
        self._listener: socket.socket | None = None
        self._path = Path()

    def start(self) -> str:
        """Listen. Returns the socket's path; empty where there can't be one: the engine is then
        reached by its port alone."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        folder = socket_folder()
        path = folder / f"{PREFIX}{secrets.token_hex(6)}{SUFFIX}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if not _is_private(folder):
                raise OSError(f"{folder} is open to other users")
            _remove_stale(folder)
            listener.bind(str(path))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            log.debug("no Unix socket: %s", error)
            return ""
        self._listener, self._path = listener, path
        threading.Thread(
            target=self._accept, args=(listener,), name="kv-local", daemon=True
        ).start()
        return str(path)

    def close(self) -> None:
        """Listen no more; readers of this moment get their blocks."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._path.unlink(missing_ok=True)
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed
            if not self._places.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(REQUEST_S)
                request = _request(connection)
                connection.settimeout(UNREAD_S)
                self._answer(connection, request)
        except (OSError, ValueError, RecursionError):
            return  # the reader has gone, or is none
        finally:
            self._places.release()

    def _answer(self, connection: socket.socket, request: dict[str, Any]) -> None:
        offers, id = self._offers, str(request.get("lease"))
        if not hmac.compare_digest(str(request.get("key", "")).encode(), self._key):
            connection.sendall(b"refused\n")
            return
        if request.get("signal") == "release":
            offers.release(id)
        state = offers.renew(id) if request.get("signal") == "renew" else offers.state(id)
        keys = request.get("keys")
        if keys is not None and state not in OPEN_STATES:
            connection.sendall(b"unknown_lease\n" if state is None else b"lease_ended\n")
            return
        connection.sendall(b"ok\n")
        for node in offers.readable(id, _keys(keys)) if keys is not None else ():
            form = offers.stored_form(id, node)
            if form is None:
                return
            size = len(form[0]) + len(form[1])
            connection.sendall(size.to_bytes(LENGTH_BYTES, "little") + form[0])
            connection.sendall(form[1])


def _request(connection: socket.socket) -> dict[str, Any]:
    """The line of JSON. Raises ValueError for anything else."""
    data = b""
    while not data.endswith(b"\n"):
        part = connection.recv(REQUEST_BYTES_MAX)
        data += part
        if not part or len(data) > REQUEST_BYTES_MAX:
            raise ValueError("no request")
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("no request")
    return value


def _keys(value: Any) -> list[bytes]:
    if not isinstance(value, list) or len(value) > KEYS_MAX:
        raise ValueError("no keys")
    return [bytes.fromhex(str(key)) for key in value]


def _remove_stale(folder: Path) -> None:
    """Remove what killed engines have left: nobody listens there."""
    for path in sorted(folder.glob(f"{PREFIX}*{SUFFIX}"))[:STALE_LOOKED_AT_MAX]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                continue  # somebody listens there and is busy
