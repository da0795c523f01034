"""The Unix socket under which other engines of this user and machine fetch KV."""

import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from roost_inference.kv.handover.peer import SOCKET_PREFIX, socket_folder

BACKLOG = 64
STALE_LOOKED_AT_MAX = 64
SUFFIX = ".sock"

log = logging.getLogger(__name__)


@contextlib.contextmanager
def unix_listener(*, wanted: bool = True) -> Iterator[socket.socket | None]:
    """A listening socket in the folder of this user's engines, gone afterwards. None where it is
    not wanted or can't be had: the engine is then reached by its port alone."""
    listener = _bind() if wanted else None
    if listener is None:
        yield None
        return
    path = Path(listener.getsockname())
    try:
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)


def _bind() -> socket.socket | None:
    folder = socket_folder()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
        if state.st_uid != os.getuid() or state.st_mode & 0o077:
            raise OSError(f"{folder} is open to other users")
        _remove_stale(folder)
        listener.bind(str(folder / f"{SOCKET_PREFIX}{secrets.token_hex(6)}{SUFFIX}"))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        log.debug("no Unix socket: %s", error)
        return None
    return listener


def _remove_stale(folder: Path) -> None:
    """Remove what killed engines have left: nobody listens there."""
    for path in sorted(folder.glob(f"{SOCKET_PREFIX}*{SUFFIX}"))[:STALE_LOOKED_AT_MAX]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                continue  # somebody listens there and is busy
