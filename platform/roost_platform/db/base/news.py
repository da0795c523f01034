"""News of commits, by touches of SQLite's file and by NOTIFY of PostgreSQL."""

import asyncio
import contextlib
import logging
import sqlite3
import time
from typing import Protocol

import psycopg
from sqlalchemy.engine import URL

from roost_platform.db.base.touch_watch import TouchWatch
from roost_platform.rhythm import until_beat

CHANNEL = "roost_changed"
# The time between two looks at SQLite's data version where its file can't be watched; a look takes
# 3 µs, but each wakes the process. It is shorter while commits follow one another, because somebody
# waits for what follows, such as an answer. A watched file is not looked at more often than that.
POLL_S = 0.025
POLL_BUSY_S = 0.008
BUSY_S = 2.0
WATCH_AGAIN_S = 5.0  # between two attempts to watch the file
RECONNECT_S = 1.0  # between attempts to listen again after PostgreSQL closed the connection
LISTEN_CHECK_S = 30.0  # a silent connection is tested this often

log = logging.getLogger(__name__)


class News(Protocol):
    """A version that changes with every commit of any process."""

    async def version(self) -> int:
        """The version now."""

    async def wait(self, since: int, timeout_s: float) -> int:
        """The version once it differs from `since`, or as it stands after `timeout_s`."""
        ...

    async def close(self) -> None:
        """Release connections."""


class FileNews:
    """SQLite: `PRAGMA data_version` on a connection of its own sees all other commits, and
    `user_version`, which every commit that is news changes, tells whether they matter.

    Whoever commits news touches the database's file, so one look follows at once. Where files can't
    be watched, one timer looks for all who wait. Nobody looks while nobody waits.
    """

    def __init__(self, url: URL) -> None:
        self._path = url.database or ":memory:"
        self._connection: sqlite3.Connection | None = None
        self._data_version = 0
        self._last = 0
        self._busy_until = 0.0
        self._changed = asyncio.Event()
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None
        self._watch: TouchWatch | None = None
        self._is_reading = False
        self._watch_at = 0.0  # when watching is tried again

    async def version(self) -> int:
        """The number that the newest commit wrote."""
        return self._look()

    async def wait(self, since: int, timeout_s: float) -> int:
        """The version once it differs from `since`, or as it stands after `timeout_s`."""
        if self._watch is not None and not self._waiting:
            self._forget_touches()  # before the look, which sees what they told
        if self._look() != since or timeout_s <= 0:
            return self._last
        self._waiting += 1
        if self._timer is None:
            self._rest()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    while self._last == since:
                        await self._changed.wait()
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._stop_looking()
        return self._look()

    def _rest(self) -> None:
        """Look again when the file is touched, or after a while."""
        if self._is_watched():
            self._read_touches(True)
            self._look_in(until_beat())
        else:
            is_busy = time.monotonic() < self._busy_until
            self._look_in(POLL_BUSY_S if is_busy else POLL_S)

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self._look()
        self._rest()

    def _on_touch(self) -> None:
        """Look at once; under load, later touches wait until the next look."""
        self._read_touches(False)
        self._forget_touches()
        self._look()
        self._look_in(POLL_BUSY_S)

    def _is_watched(self) -> bool:
        if self._watch is None and time.monotonic() >= self._watch_at:
            self._watch_at = time.monotonic() + WATCH_AGAIN_S
            try:
                self._watch = TouchWatch(self._path)
            except OSError as error:
                log.debug("the database's file can't be watched, it is read instead: %s", error)
            else:
                self._look()  # what was committed just before
        return self._watch is not None

    def _read_touches(self, wanted: bool) -> None:
        if self._watch is None or wanted == self._is_reading:
            return
        loop = asyncio.get_running_loop()
        self._is_reading = wanted
        if wanted:
            loop.add_reader(self._watch, self._on_touch)
        else:
            loop.remove_reader(self._watch)

    def _forget_touches(self) -> None:
        if self._watch is not None and not self._watch.drain():
            self._stop_watching()

    def _stop_looking(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._read_touches(False)

    def _stop_watching(self) -> None:
        self._read_touches(False)
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _look(self) -> int:
        if self._connection is None:
            self._connection = sqlite3.connect(
                self._path, isolation_level=None, timeout=0, check_same_thread=False
            )
        try:
            (data_version,) = self._connection.execute("PRAGMA data_version").fetchone()
            if data_version == self._data_version:
                return self._last
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError:  # locked during recovery or migration: look again later
            return self._last
        self._data_version = data_version
        if version != self._last:
            self._last = version
            self._busy_until = time.monotonic() + BUSY_S
            self._changed.set()
            self._changed = asyncio.Event()
        return self._last

    async def close(self) -> None:
        """Stop looking and close the connection."""
        self._stop_looking()
        self._stop_watching()
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class NotifyNews:
    """PostgreSQL: one LISTEN connection counts notifications; it is opened by the first wait."""

    def __init__(self, url: URL) -> None:
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._count = 0
        self._event = asyncio.Event()
        self._listening = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def version(self) -> int:
        """The number of notifications so far."""
        await self._start()
        return self._count

    async def wait(self, since: int, timeout_s: float) -> int:
        """The version once it differs from `since`, or as it stands after `timeout_s`."""
        await self._start()
        end = time.monotonic() + timeout_s
        while self._count == since and (left := end - time.monotonic()) > 0:
            event = self._event
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), left)
        return self._count

    async def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._listen(), name="database news")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._listening.wait(), RECONNECT_S)

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except (psycopg.Error, OSError) as error:
                log.warning("Lost the database's notifications, listening again: %s", error)
                self._bump()  # everybody who waits reads again
                await asyncio.sleep(RECONNECT_S)

    async def _listen_once(self) -> None:
        connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            self._listening.set()
            self._bump()
            while True:
                async for _ in connection.notifies(timeout=LISTEN_CHECK_S):
                    self._bump()
                await connection.execute("SELECT 1")

    def _bump(self) -> None:
        self._count += 1
        self._event.set()
        self._event = asyncio.Event()

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
