"""Whether a pooled connection to PostgreSQL still stands, told by its socket: a server that stopped
has closed it, and asking the server would cost every transaction a round trip.
"""

import select
from typing import Any

import psycopg
from sqlalchemy.exc import InvalidatePoolError

# What came while nobody listened: notices, a farewell, then the end.
READS_MAX = 8


def refuse_closed(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
    """For the pool's `checkout`: with one connection that was closed, all older ones are renewed.

    A server that is silent but holds its connections is not noticed here, nor by a question, which
    would wait for it.
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
