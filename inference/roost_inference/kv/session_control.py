"""Sessions as the platform handles them: list, pin, prefetch, offload, close.

Any thread calls it; the engine thread does the work between two steps. A session is named by its
id and the cache_salt it was made with: a caller without the salt gets UnknownSession.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from roost_inference.errors import EngineUnavailable, InvalidRequest, UnknownSession
from roost_inference.kv.cache import KvCache
from roost_inference.kv.sessions import PIN_TTL_S_DEFAULT, REASONS, SessionRecord
from roost_inference.request import EngineSession

COMMAND_TIMEOUT_S = 10.0
# Prefetched blocks are kept in RAM for the message that announced itself.
PREFETCH_RETAIN_S = 60.0

T = TypeVar("T")


class SessionControl:
    """`post` hands a command to the engine thread.

    Every method but `listing` raises UnknownSession where the engine knows no such session, and
    all raise EngineUnavailable where the engine thread does not answer in time.
    """

    def __init__(
        self,
        cache: KvCache,
        post: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
    ) -> None:
        self._cache = cache
        self._post = post
        self._clock = clock

    def listing(
        self,
        limit: int | None = None,
        note: Callable[[EngineSession], dict[str, Any]] = lambda session: {},
    ) -> list[dict[str, Any]]:
        """The sessions known, or the `limit` latest of them, the most recently used last, each
        with what `note` says of it. Neither texts nor salts."""
        return self._run(lambda: self._list(limit, note))

    def pin(
        self, session: EngineSession, reason: str, ttl_s: float = PIN_TTL_S_DEFAULT
    ) -> dict[str, Any]:
        """Note what a session waits for. Raises InvalidRequest for an unknown reason."""
        if reason not in REASONS:
            raise InvalidRequest(f"reason must be one of {', '.join(REASONS)}", param="reason")
        return self._run(lambda: self._pin(session, reason, ttl_s))

    def prefetch(self, session: EngineSession) -> dict[str, Any]:
        """Bring a session's blocks to RAM: a message for it has arrived."""
        return self._run(lambda: self._prefetch(session))

    def offload(self, session: EngineSession) -> dict[str, Any]:
        """Give back the session's cells; its KV is kept below the device."""
        return self._run(lambda: self._offload(self._record(session)))

    def close(self, session: EngineSession) -> dict[str, Any]:
        """The session has ended: its cells, its pin and its record go; its blocks age as others."""
        return self._run(lambda: self._close(self._record(session)))

    def _run(self, command: Callable[[], T]) -> T:
        future: Future[T] = Future()

        def work() -> None:
            try:
                future.set_result(command())
            except Exception as error:
                future.set_exception(error)

        self._post(work)
        try:
            return future.result(COMMAND_TIMEOUT_S)
        except TimeoutError as error:
            raise EngineUnavailable("The engine did not get to it in time") from error

    # On the engine thread

    def _record(self, session: EngineSession) -> SessionRecord:
        record = self._cache.sessions.get(session)
        if record is None:
            raise UnknownSession
        return record

    def _list(
        self, limit: int | None, note: Callable[[EngineSession], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        on_device = {resident.session: len(resident.tokens) for resident in self._cache.residents}
        records = list(self._cache.sessions)
        wanted = records if limit is None else records[max(len(records) - limit, 0) :]
        return [
            {**self._describe(record, on_device.get(record.session, 0)), **note(record.session)}
            for record in wanted
        ]

    def _describe(self, record: SessionRecord, cells: int) -> dict[str, Any]:
        now = self._clock()
        reason = self._cache.sessions.reason(record.session)
        return {
            "id": record.session.session_id,
            "tokens": len(record.tokens),
            "cells": cells,
            "stored_tokens": self._cache.paging.stored_tokens(record.session, record.tokens),
            "turns": record.turns,
            "idle_s": round(now - record.used_s, 3),
            "pin": None
            if reason is None or record.pin is None
            else {"reason": reason, "expires_in_s": round(record.pin.until - now, 3)},
        }

    def _pin(self, session: EngineSession, reason: str, ttl_s: float) -> dict[str, Any]:
        record = self._record(session)
        pin = self._cache.sessions.pin(record, reason, ttl_s)
        self._cache.paging.retain(session, record.tokens, pin.until)
        self._cache.settle_pin(session, reason)
        return {"id": session.session_id, "pinned": reason, "ttl_s": ttl_s}

    def _prefetch(self, session: EngineSession) -> dict[str, Any]:
        record = self._cache.sessions.get(session)
        tokens = None if record is None else record.tokens
        prefetch = self._cache.paging.prefetch(session, tokens, self._clock() + PREFETCH_RETAIN_S)
        if record is None and not prefetch.is_known:
            raise UnknownSession
        return {
            "id": session.session_id,
            "blocks": prefetch.blocks,
            "fetching": prefetch.fetching,
        }

    def _offload(self, record: SessionRecord) -> dict[str, Any]:
        before = self._cache.ledger.used
        self._cache.evict_session(record.session)
        freed = before - self._cache.ledger.used
        return {"id": record.session.session_id, "cells_freed": freed}

    def _close(self, record: SessionRecord) -> dict[str, Any]:
        result = self._offload(record)
        self._cache.paging.retain(record.session, record.tokens, 0.0)
        self._cache.sessions.forget(record)
        return {**result, "closed": True}
