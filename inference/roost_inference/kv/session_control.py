"""Sessions as the platform handles them: list, pin, prefetch, offload, close.

Called from any thread; the work is done on the engine thread between two steps.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from roost_inference.errors import EngineUnavailable, InvalidRequest
from roost_inference.kv.cache import KvCache
from roost_inference.kv.sessions import PIN_TTL_S_DEFAULT, REASONS, SessionRecord
from roost_inference.request import EngineSession

COMMAND_TIMEOUT_S = 10.0
# Prefetched blocks are kept in RAM for the message that announced itself.
PREFETCH_HOLD_S = 60.0

T = TypeVar("T")


class SessionDesk:
    """`post` hands a command to the engine thread."""

    def __init__(
        self,
        cache: KvCache,
        post: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
    ) -> None:
        self._cache = cache
        self._post = post
        self._clock = clock

    def listing(self, limit: int | None = None) -> list[dict[str, Any]]:
        """The sessions known, or the `limit` latest of them, the most recently used last."""
        return self._run(lambda: self._list(limit))

    def pin(
        self,
        session_id: str,
        reason: str,
        ttl_s: float = PIN_TTL_S_DEFAULT,
        cache_salt: str | None = None,
    ) -> dict[str, Any]:
        """Say what a session waits for. Raises InvalidRequest for an unknown reason."""
        if reason not in REASONS:
            raise InvalidRequest(f"reason must be one of {', '.join(REASONS)}", param="reason")
        return self._run(lambda: self._pin(session_id, reason, ttl_s, cache_salt))

    def prefetch(self, session_id: str, cache_salt: str | None = None) -> dict[str, Any]:
        """Bring a session's blocks to RAM: a message for it has arrived."""
        return self._run(lambda: self._prefetch(session_id, cache_salt))

    def offload(self, session_id: str, cache_salt: str | None = None) -> dict[str, Any]:
        """Give back the session's cells; its KV is kept below."""
        return self._run(lambda: self._offload(session_id, cache_salt))

    def close(self, session_id: str, cache_salt: str | None = None) -> dict[str, Any]:
        """Nothing more is expected: cells, pins and the record go; blocks age like all others."""
        return self._run(lambda: self._close(session_id, cache_salt))

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

    def _list(self, limit: int | None) -> list[dict[str, Any]]:
        on_device = {resident.session: len(resident.tokens) for resident in self._cache.residents}
        known = list(self._cache.sessions)
        wanted = known if limit is None else known[max(len(known) - limit, 0) :]
        return [self._describe(record, on_device.get(record.session, 0)) for record in wanted]

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

    def _pin(
        self, session_id: str, reason: str, ttl_s: float, cache_salt: str | None
    ) -> dict[str, Any]:
        cache = self._cache
        known = cache.sessions.named(session_id, cache_salt)
        new = EngineSession(session_id, cache_salt or "")
        sessions = [record.session for record in known] or [new]
        for session in sessions:
            record = cache.sessions.pin(session, reason, ttl_s)
            assert record.pin is not None
            cache.paging.hold(session, record.tokens, record.pin.until)
            cache.settle_pin(session, reason)
        return {"id": session_id, "pinned": reason, "ttl_s": ttl_s, "sessions": len(sessions)}

    def _prefetch(self, session_id: str, cache_salt: str | None) -> dict[str, Any]:
        known = self._cache.sessions.named(session_id, cache_salt)
        blocks, moving = self._cache.paging.prefetch(
            session_id,
            [(record.session, record.tokens) for record in known],
            self._clock() + PREFETCH_HOLD_S,
        )
        return {"id": session_id, "blocks": blocks, "fetching": moving}

    def _offload(self, session_id: str, cache_salt: str | None) -> dict[str, Any]:
        before = self._cache.ledger.used
        for record in self._cache.sessions.named(session_id, cache_salt):
            self._cache.evict_session(record.session)
        return {"id": session_id, "cells_freed": before - self._cache.ledger.used}

    def _close(self, session_id: str, cache_salt: str | None) -> dict[str, Any]:
        freed = self._offload(session_id, cache_salt)
        for record in self._cache.sessions.named(session_id, cache_salt):
            self._cache.paging.hold(record.session, record.tokens, 0.0)
            self._cache.sessions.forget(record)
        return {**freed, "closed": True}
