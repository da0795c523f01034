"""What the HTTP side needs of an engine: Engine implements it, and so do the doubles of tests."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from roost_inference.kv.handover.handover import Handover
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.placement import TierPlacement
from roost_inference.request import EngineSession, EngineStats, Listener, ModelInfo, Request


class SessionControlPort(Protocol):
    """Sessions as clients handle them, named by id and cache_salt. Any thread may call it, and
    waits until the engine thread has done it.

    Every method but `listing` raises UnknownSession where no session has that id and salt.
    """

    def listing(
        self, limit: int | None = None, note: Callable[[EngineSession], dict[str, Any]] = ...
    ) -> list[dict[str, Any]]:
        """The sessions known, or the `limit` latest, the most recently used last, each with what
        `note` says of it."""
        ...

    def pin(self, session: EngineSession, reason: str, ttl_s: float = ...) -> dict[str, Any]:
        """Note what a session waits for. Raises InvalidRequest for an unknown reason."""
        ...

    def prefetch(self, session: EngineSession) -> dict[str, Any]:
        """Bring a session's blocks to RAM."""
        ...

    def offload(self, session: EngineSession) -> dict[str, Any]:
        """Give back the session's cells; its KV is kept below the device."""
        ...

    def close(self, session: EngineSession) -> dict[str, Any]:
        """Give back the session's cells and pins, and forget it."""
        ...


class EnginePort(Protocol):
    """The engine as the server sees it; any thread may call every method."""

    @property
    def model(self) -> ModelInfo:
        """The loaded model."""
        ...

    @property
    def failure(self) -> str | None:
        """Why the engine gave up, None while it is well."""
        ...

    @property
    def store(self) -> BlockStore | None:
        """The tiers below the device, None if there are none."""
        ...

    @property
    def handover(self) -> Handover | None:
        """What is handed over to and from other engines, None if nothing can be."""
        ...

    @property
    def tiers(self) -> Sequence[TierPlacement]:
        """The tiers that a request may load from."""
        ...

    @property
    def session_control(self) -> SessionControlPort:
        """List, pin, prefetch, offload and close sessions."""
        ...

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids; `special` recognises control tokens in the text. Never adds BOS."""
        ...

    def tokens_at_least(self, text: str) -> int:
        """A lower bound of the text's tokens, known without tokenising it."""
        ...

    def spelling(self, token: int) -> bytes:
        """The bytes a token is written with, control tokens included. Raises InvalidRequest for one
        that is not in the vocabulary."""
        ...

    def submit(self, request: Request, listener: Listener) -> None:
        """Queue a request. The listener runs on the engine thread and must not block.

        Raises PromptTooLong, QueueFull, BadGrammar at once; nothing is queued then.
        """
        ...

    def abort(self, request_id: str) -> None:
        """Stop a request within one step; its FinishEvent says `abort`. Unknown ids are ignored."""
        ...

    def stats(self) -> EngineStats:
        """Counters and gauges since the engine's start."""
        ...
