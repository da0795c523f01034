"""Reads that take long, such as sums over many rows, beside the event loop."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from roost_platform.db.base.engine import Database
from roost_platform.errors import Busy

READERS: Final = 2  # at once in this process; others wait for one of them
WITHIN_S: Final = 20.0
INSTRUCTIONS: Final = 10_000  # of SQLite, between two looks at the clock

T = TypeVar("T")

_threads = ThreadPoolExecutor(READERS, thread_name_prefix="long-reads")


async def read_long(
    database: Database, work: Callable[[Session], T], within_s: float = WITHIN_S
) -> T:
    """What `work` reads. Raises Busy when it takes longer.

    SQLite works in the event loop's own thread otherwise, where every other request would wait.
    """
    path = database.url.database
    if database.is_sqlite and path and path != ":memory:":
        reading = partial(_read, path, work, within_s)
        return await asyncio.get_running_loop().run_in_executor(_threads, reading)
    try:
        async with asyncio.timeout(within_s), database.read() as session:
            return await session.run_sync(work)
    except TimeoutError:
        raise _too_long() from None


def _read(path: str, work: Callable[[Session], T], within_s: float) -> T:
    deadline = time.monotonic() + within_s

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA query_only=ON")
        connection.set_progress_handler(lambda: time.monotonic() > deadline, INSTRUCTIONS)
        return connection

    with Session(create_engine("sqlite://", creator=connect, poolclass=NullPool)) as session:
        try:
            return work(session)
        except OperationalError:
            if time.monotonic() > deadline:
                raise _too_long() from None
            raise


def _too_long() -> Busy:
    return Busy("Reading this takes too long. Ask for fewer days or for less of them.")
