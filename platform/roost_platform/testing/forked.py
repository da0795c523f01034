"""For tests: a process with the command line's code loaded, from which commands are forked.

Loading Python and that code takes a second of processor time, running a command a hundredth of it.
A forked command is a process of its own: own environment, folder, pipes, and exit code.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final, NoReturn

FDS: Final = 4  # input, output, errors, and where the exit code is written
MESSAGE_BYTES_MAX: Final = 1_000_000
LOADED: Final = (
    "roost_platform.stack.doctor",
    "roost_platform.cli.api_client",
    "roost_platform.backups.backup",
    "roost_platform.backups.restore",
    "roost_platform.db.stores",
    "roost_platform.settings.rows",
    "roost_platform.stack.up",
    "roost.builtin.concierge",
)

COMMAND: Final = Path(__file__).parents[1] / "__main__.py"

_lock = threading.Lock()
_socket: socket.socket | None = None


class Forked:
    """A command that was forked. `wait` gives its exit code as subprocess does."""

    def __init__(
        self, arguments: tuple[str, ...], env: dict[str, str], fds: tuple[int, int, int]
    ) -> None:
        reads, writes = os.pipe()
        self._result = os.fdopen(reads, "r")
        request = {"arguments": arguments, "env": env, "cwd": os.getcwd()}
        body = json.dumps(request).encode("utf-8", "surrogateescape")
        with _lock:
            server = _server()
            socket.send_fds(server, [len(body).to_bytes(4, "big")], [*fds, writes])
            server.sendall(body)
        os.close(writes)
        self.pid = int(self._result.readline())

    def wait(self) -> int:
        """Its exit code once it has ended; negative for a signal."""
        with self._result:
            return int(self._result.readline())


def _server() -> socket.socket:
    global _socket
    if _socket is None:
        _socket, theirs = socket.socketpair()
        with theirs:
            child = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )

        def close(ours: socket.socket = _socket) -> None:
            ours.close()
            child.wait()

        atexit.register(close)
    return _socket


def _load() -> None:
    package = importlib.import_module("roost_platform.cli")
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    for name in [*(f"{package.__name__}.{one}" for one in names), *LOADED]:
        importlib.import_module(name)
    gc.freeze()  # forks need not walk, and so copy, what they share


def _serve(requests: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        head, fds, _, _ = socket.recv_fds(requests, 4, FDS)
        if not head:
            return
        body = requests.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
        if os.fork() == 0:
            requests.close()
            _watch(body, fds)
        for fd in fds:
            os.close(fd)


def _watch(body: bytes, fds: list[int]) -> NoReturn:
    """Fork the command, tell its process id and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *pipes, result = fds
    pid = os.fork()
    if pid == 0:
        os.close(result)
        _run(json.loads(body.decode("utf-8", "surrogateescape")), pipes)
    for fd in pipes:
        os.close(fd)
    os.write(result, f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    os.write(result, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _run(request: dict[str, object], pipes: list[int]) -> NoReturn:
    """What a Python that starts anew does with this command."""
    from roost_platform.cli.main import main

    for number, fd in enumerate(pipes):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[call-overload]
    sys.argv = [str(COMMAND), *request["arguments"]]  # type: ignore[misc]
    sys.modules["__main__"].__package__ = COMMAND.parent.name  # help shows it
    # The interpreter's own end prints an uncaught error, flushes, and runs what is left to run.
    main()
    sys.exit()


if __name__ == "__main__":
    _load()
    _serve(socket.socket(fileno=int(sys.argv[1])))
