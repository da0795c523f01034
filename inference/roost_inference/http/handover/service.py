"""What the routes of the hand-over serve: the leases of an engine, and its state for a router."""

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from roost_inference.errors import InvalidRequest
from roost_inference.http.engine_port import EnginePort
from roost_inference.http.handover.policy import stored_of
from roost_inference.http.preparation import Preparation
from roost_inference.kv.block import BLOCK_TOKENS
from roost_inference.kv.handover.leases import OPEN_STATES, LeaseState
from roost_inference.kv.handover.offers import Offers
from roost_inference.kv.index import Node
from roost_inference.request import EngineSession, KvOffer
from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.json_body import parse_json
from roost_inference.wire.kv_lookup import KvLookup
from roost_inference.wire.kv_transfer import offer_in
from roost_inference.wire.parsing import parse_chat_call

log = logging.getLogger(__name__)


class UnknownLease(InvalidRequest):
    """The engine has no such lease; it may have ended long ago."""

    http_status = 404
    code = "lease_not_found"


class EndedLease(InvalidRequest):
    """The lease has ended."""

    http_status = 410
    code = "lease_ended"


class PromptSource(Protocol):
    """Makes a chat's prompt, and knows how much of it is stored."""

    def cached_tokens(self, call: ChatCall, preparation: Preparation) -> tuple[int, int]:
        """How many tokens of a request's prompt are stored here, and how many it has."""
        ...


class HandoverService:
    """Any thread may call it. An engine without paging has no leases, and says so in its role."""

    def __init__(self, engine: EnginePort, prompts: PromptSource) -> None:
        self._engine = engine
        self._prompts = prompts

    def summary(self) -> dict[str, Any]:
        """What a router weighs: no texts, no keys."""
        stats, handover, store = self._engine.stats(), self._engine.handover, self._engine.store
        known = store.bytes_per_token if store is not None else 0.0
        return {
            "engine_id": None if handover is None else handover.engine_id,
            "role": None if handover is None else handover.role,
            "compat": None if handover is None else handover.compat,
            "model": self._engine.model.name,
            "block_tokens": BLOCK_TOKENS,
            "kv_bytes_per_token": round(known) or None,
            "prefill_ms_per_token": None
            if handover is None
            else round(handover.prefill_ms_per_token(), 4),
            "fetch_ms_per_token": None if handover is None else handover.figures.ms_per_token(),
            "running": stats.running,
            "waiting": stats.waiting,
            "leases": 0 if handover is None else handover.offers.open(),
        }

    def lookup(self, body: bytes, preparation: Preparation) -> dict[str, Any]:
        """How many tokens of a prompt are stored, of a chat request or of tokens."""
        value = parse_json(body)
        if isinstance(value, dict) and "messages" in value:
            stored, length = self._prompts.cached_tokens(parse_chat_call(value), preparation)
        else:
            asked = KvLookup.parse(value)
            session = EngineSession(None, asked.cache_salt or "")
            stored = stored_of(self._engine.store, session, asked.tokens)
            length = len(asked.tokens)
        return {"cached_tokens": stored, "prompt_tokens": length}

    def renew(self, id: str) -> None:
        """The reader of a lease gives a sign of life. Raises UnknownLease, EndedLease."""
        _check(id, self._offers().renew(id))

    def release(self, id: str) -> None:
        """The reader of a lease needs nothing more; ended and unknown ones are no fault."""
        self._offers().release(id)

    def blocks(self, id: str, keys: Sequence[bytes]) -> list[Node]:
        """The blocks that may be read under a lease, up to the first that is not there. Raises
        UnknownLease, EndedLease."""
        offers = self._offers()
        _check(id, offers.state(id))
        return offers.readable(id, keys)

    def stored_form(self, id: str, node: Node) -> tuple[bytes, memoryview] | None:
        """The head and the KV of a block; None once lease or block has gone. May wait."""
        return self._offers().stored_form(id, node)

    def reject(self, body: bytes) -> None:
        """A request was refused before the engine saw it: release what it was offered, later."""
        handover = self._engine.handover
        if handover is not None and b"remote_request_id" in body:
            handover.fetches.reject(lambda: _offer_of(body))

    def _offers(self) -> Offers:
        handover = self._engine.handover
        if handover is None:
            raise UnknownLease("This engine pages no KV, so it has no leases")
        return handover.offers


def _offer_of(body: bytes) -> KvOffer | None:
    try:
        return offer_in(parse_json(body))
    except InvalidRequest:
        return None


def _check(id: str, state: LeaseState | None) -> None:
    if state is None:
        raise UnknownLease
    if state not in OPEN_STATES:
        raise EndedLease(f"The lease is {state}")
