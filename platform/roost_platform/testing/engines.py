"""For tests: the engines of one kind of database compile each statement once, not once per test."""

from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import LRUCache

STATEMENTS_MAX = 3_000  # more than all stores have

_shared: dict[str, tuple[Dialect, LRUCache[Any, Any]]] = {}


def create_sharing_engine(url: URL, **options: Any) -> AsyncEngine:
    """An engine with the dialect and the compiled statements of the first one that connected.

    SQLAlchemy caches compiled statements per engine, and per dialect object. A test has an engine
    of its own, and would spend more time compiling than asking.
    """
    engine = create_async_engine(url, **options)
    kind = engine.dialect.name
    if kind in _shared:
        engine.sync_engine.dialect, cache = _shared[kind]
        engine.sync_engine.update_execution_options(compiled_cache=cache)
        return engine

    @event.listens_for(engine.sync_engine, "engine_connect")
    def share(connection: Connection) -> None:
        _shared.setdefault(kind, (connection.dialect, LRUCache(STATEMENTS_MAX)))

    return engine
