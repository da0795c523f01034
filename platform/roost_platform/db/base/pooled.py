"""What a pooled connection to PostgreSQL needs before it is used, without asking the server.

Whether it is still open tells its socket: a server that stopped has closed it. Whether it opens
transactions is psycopg's own matter. Asking would cost every transaction a round trip.
"""

import select
from collections.abc import Coroutine
from typing import Any, Final

import psycopg
from sqlalchemy.engine import Connection
from sqlalchemy.exc import InvalidatePoolError

# Execution option: each statement stands for itself, without a transaction around it.
AUTOCOMMIT: Final = "roost_autocommit"
# Messages that came while nobody read: notices, a farewell, then the end.
READS_MAX = 8
TURNS_MAX: Final = 8  # of the event loop that psycopg asks for; it is one


def refuse_closed(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
    """Raise InvalidatePoolError for a closed connection; the pool then renews all older ones.

    It is called at the pool's `checkout`. A server that hangs is not noticed here, and a query
    would only wait for it.
    """
    connection = dbapi_connection.driver_connection.pgconn
    socket = select.poll()
    try:
        socket.register(connection.socket, select.POLLIN)
        for _ in range(READS_MAX):
            if not socket.poll(0):
                return
            connection.consume_input()
    except psycopg.OperationalError as error:
        raise InvalidatePoolError("the server has closed this connection") from error


def set_autocommit(connection: Connection) -> None:
    """Let the connection open transactions, or not, as its options say. For `engine_connect`.

    SQLAlchemy's own way awaits, and psycopg lets the event loop turn there where it was busy. A
    task that is cancelled at that moment leaves the connection to the garbage collector, or its
    place in the pool to nobody.
    """
    driver: Any = connection.connection.driver_connection
    wanted = connection.get_execution_options().get(AUTOCOMMIT, False)
    if driver.autocommit != wanted:
        _at_once(driver.set_autocommit(wanted))


def _at_once(work: Coroutine[Any, Any, None]) -> None:
    """Run what only lets the event loop turn, and waits for nothing, to its end."""
    for _ in range(TURNS_MAX):
        try:
            waits_for = work.send(None)
        except StopIteration:
            return
        if waits_for is not None:
            break
    work.close()
    raise RuntimeError("psycopg waits for the server to change a setting of its own")
