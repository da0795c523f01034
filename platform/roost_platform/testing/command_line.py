"""The command line as a child process, and a stack that answers it what a test says."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from roost_platform.data_folder import running_stack
from roost_platform.testing.forked import Forked

# These start processes of their own, or are about how Python starts.
ALWAYS_STARTED = ("up", "serve", "migrate", "new", "--help", "--version")
TIMEOUT_S = 60.0
_started: set[str] = set()


def roost(
    *arguments: str, data: Path | None = None, stdin: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of `roost` to its end; `env` over an environment without our variables.

    The first call of a command starts Python, as in a shell; later ones are forked from a process
    that has loaded the same code.
    """
    base = {k: v for k, v in os.environ.items() if not k.startswith("ROOST_")}
    base["PYTHONPATH"] = os.pathsep.join(sys.path)
    if data is not None:
        env["ROOST_DATA_DIR"] = str(data)
    if arguments[0] in ALWAYS_STARTED or arguments[0] not in _started:
        _started.add(arguments[0])
        return subprocess.run(
            [sys.executable, "-m", "roost_platform", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=base | env,
        )
    return _run_forked(arguments, stdin, base | env)


def _run_forked(
    arguments: tuple[str, ...], stdin: str, env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as given,
        tempfile.TemporaryFile("w+", encoding="utf-8") as output,
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
    ):
        given.write(stdin)
        given.seek(0)
        command = Forked(arguments, env, (given.fileno(), output.fileno(), errors.fileno()))
        timer = threading.Timer(TIMEOUT_S, os.kill, (command.pid, signal.SIGKILL))
        timer.start()
        code = command.wait()
        timer.cancel()
        timer.join()
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, code, output.read(), errors.read())


@dataclass
class FakeStack:
    """A stack that answers what a test says; `requests` is what it was asked."""

    data: Path
    events: list[tuple[str, Any]] = field(default_factory=list)
    hang_up_after: int | None = None
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    answers: dict[str, object] = field(default_factory=dict)
    refusal: tuple[int, object] | None = None


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[FakeStack]:
    """A fake stack on loopback, written down in `folder` as the one that runs there."""
    fake = FakeStack(folder)

    class Handler(BaseHTTPRequestHandler):
        def _send(self, body: bytes, kind: str = "application/json", status: int = 200) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            self._note(self.rfile.read(length).decode())
            accepted = {"inbox_id": "i1", "conversation_id": "c1", "key": "k"}
            status, answer = fake.refusal or (202, accepted)
            self._send(json.dumps(answer).encode(), status=status)

        def do_GET(self) -> None:
            self._note("")
            path = self.path.partition("?")[0]
            if path.endswith("/events"):
                events, fake.hang_up_after = fake.events[: fake.hang_up_after], None
                body = "".join(
                    f"event: {n}\r\ndata: {json.dumps(d, ensure_ascii=False)}\r\n\r\n"
                    for n, d in events
                )
                self._send(body.encode(), "text/event-stream")
            else:
                self._send(json.dumps(fake.answers[path]).encode())

        def _note(self, body: str) -> None:
            fake.requests.append(
                (f"{self.command} {self.path}", self.headers["authorization"], body)
            )

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    port = server.server_address[1]
    running_stack.write_private(
        folder / running_stack.RUN_FILE,
        json.dumps(
            {
                "pid": os.getpid(),
                "web": port,
                "engine": 0,
                "temporal": 0,
                "started_at": 0.0,
                "url": f"http://127.0.0.1:{port}",
            }
        ),
    )
    running_stack.write_private(folder / running_stack.TOKEN_FILE, "roost_local")
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
