"""Whether a pooled connection to PostgreSQL is still open, by its socket.

A server that stopped has closed the socket. Asking the server would cost every transaction a round
trip.
"""

import select
from typing import Any

import psycopg
from sqlalchemy.exc import InvalidatePoolError

# Messages that came while nobody read: notices, a farewell, then the end.
READS_MAX = 8


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
