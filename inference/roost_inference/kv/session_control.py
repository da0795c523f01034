"""Sessions as the platform handles them: list, pin, prefetch, offload, close.

Called from any thread; the work is done on the engine thread between two steps. A session is
named by its id and the cache_salt it was made with: whoever has not the salt gets UnknownSession.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from roost_inference.errors import EngineUnavailable, InvalidRequest, UnknownSession
from roost_inference.kv.cache import KvCache
from roost_inference.kv.index import RAM, Node
from roost_inference.kv.sessions import PIN_TTL_S_DEFAULT, REASONS, Session, SessionKey

COMMAND_TIMEOUT_S = 10.0
# Prefetched blocks are kept in RAM for the message that announced itself.
PREFETCH_HOLD_S = 60.0

T = TypeVar("T")


class SessionControl:
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

    def listing(
        self,
        limit: int | None = None,
        note: Callable[[SessionKey], dict[str, Any]] = lambda key: {},
    ) -> list[dict[str, Any]]:
        """The sessions known, or the `limit` latest of them, the most recently used last, each
        with what `note` says of it. Neither texts nor salts."""
        return self._run(lambda: self._list(limit, note))

    def pin(
        self,
        session_id: str,
        reason: str,
        ttl_s: float = PIN_TTL_S_DEFAULT,
        cache_salt: str = "",
    ) -> dict[str, Any]:
        """Say what a session waits for. Raises InvalidRequest for an unknown reason."""
        if reason not in REASONS:
            raise InvalidRequest(f"reason must be one of {', '.join(REASONS)}", param="reason")
        return self._run(lambda: self._pin(session_id, reason, ttl_s, cache_salt))

    def prefetch(self, session_id: str, cache_salt: str = "") -> dict[str, Any]:
        """Bring a session's blocks to RAM: a message for it has arrived."""
        return self._run(lambda: self._prefetch(session_id, cache_salt))

    def offload(self, session_id: str, cache_salt: str = "") -> dict[str, Any]:
        """Give back the session's cells; its KV is kept below."""
        return self._run(lambda: self._offload(self._known(session_id, cache_salt)))

    def close(self, session_id: str, cache_salt: str = "") -> dict[str, Any]:
        """Nothing more is expected: cells, pins and the record go; blocks age like all others."""
        return self._run(lambda: self._close(self._known(session_id, cache_salt)))

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

    def _known(self, session_id: str, cache_salt: str) -> Session:
        session = self._cache.sessions.get(session_id, cache_salt)
        if session is None:
            raise UnknownSession
        return session

    def _list(
        self, limit: int | None, note: Callable[[SessionKey], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        on_device = {
            (resident.cache_salt, resident.session_id): len(resident.tokens)
            for resident in self._cache.residents
        }
        known = list(self._cache.sessions)
        wanted = known if limit is None else known[max(len(known) - limit, 0) :]
        return [{**self._describe(s, on_device.get(s.key, 0)), **note(s.key)} for s in wanted]

    def _describe(self, session: Session, cells: int) -> dict[str, Any]:
        now = self._clock()
        reason = self._cache.sessions.reason(session.session_id, session.cache_salt)
        return {
            "id": session.session_id,
            "tokens": len(session.tokens),
            "cells": cells,
            "stored_tokens": self._stored(session),
            "turns": session.turns,
            "idle_s": round(now - session.used_s, 3),
            "pin": None
            if reason is None or session.pin is None
            else {"reason": reason, "expires_in_s": round(session.pin.until - now, 3)},
        }

    def _stored(self, session: Session) -> dict[str, int]:
        """Tokens per tier."""
        stored: dict[str, int] = {}
        if self._cache.pager is not None:
            store = self._cache.pager.store
            root = store.root(session.cache_salt)
            for part in store.walk(root, session.tokens, touch=False):
                for tier in tuple(part.node.tiers):
                    stored[tier] = stored.get(tier, 0) + part.used
        return stored

    def _pin(self, session_id: str, reason: str, ttl_s: float, cache_salt: str) -> dict[str, Any]:
        cache = self._cache
        session = self._known(session_id, cache_salt)
        pin = cache.sessions.pin(session, reason, ttl_s)
        if cache.pager is not None:
            store = cache.pager.store
            store.hold(store.root(cache_salt), session.tokens, pin.until)
        cache.settle_pin(session_id, cache_salt, reason)
        return {"id": session_id, "pinned": reason, "ttl_s": ttl_s}

    def _prefetch(self, session_id: str, cache_salt: str) -> dict[str, Any]:
        session = self._cache.sessions.get(session_id, cache_salt)
        chain = self._stored_chain(session_id, cache_salt, session)
        if session is None and not chain:
            raise UnknownSession
        blocks = started = 0
        if self._cache.pager is not None:
            store = self._cache.pager.store
            sources = [store.source(node, None) for node in chain]
            blocks = sources.index(None) if None in sources else len(sources)
            ready = [source for source in sources[:blocks] if source is not None]
            store.fetch(chain[:blocks], ready)
            started = sum(source != RAM for source in ready)
            until = self._clock() + PREFETCH_HOLD_S
            for node in chain[:blocks]:
                node.hold_until = max(node.hold_until, until)
        return {"id": session_id, "blocks": blocks, "fetching": started}

    def _stored_chain(
        self, session_id: str, cache_salt: str, session: Session | None
    ) -> list[Node]:
        """The session's blocks below the device, the root first."""
        if self._cache.pager is None:
            return []
        store = self._cache.pager.store
        root = store.root(cache_salt)
        chain = [] if session is None else [p.node for p in store.walk(root, session.tokens)]
        # after a restart only the blocks remember whose they are
        return chain or store.leaf_of(session_id, root)

    def _offload(self, session: Session) -> dict[str, Any]:
        before = self._cache.ledger.used
        self._cache.evict_session(session.session_id, session.cache_salt)
        return {"id": session.session_id, "cells_freed": before - self._cache.ledger.used}

    def _close(self, session: Session) -> dict[str, Any]:
        freed = self._offload(session)
        if self._cache.pager is not None:
            store = self._cache.pager.store
            store.hold(store.root(session.cache_salt), session.tokens, 0.0)
        self._cache.sessions.forget(session)
        return {**freed, "closed": True}
