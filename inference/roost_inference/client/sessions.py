"""The client of `/v1/sessions`: hints to an engine about its sessions."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol
from urllib.parse import quote

from roost_inference.client.refusals import json_of, refusal
from roost_inference.errors import EngineFailed, NoSessions, UnknownSession
from roost_inference.request import EngineSession

__all__ = ["Caller", "EngineSession", "EngineSessions", "Wait"]

Wait = Literal["tool", "approval", "user", "idle"]
UNKNOWN_STATUSES = frozenset({404, 405, 501})


class Caller(Protocol):
    """The part of EngineClient that this needs."""

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Any request of the engine; see EngineClient.call."""
        ...


class EngineSessions:
    """The sessions of one engine. Every method raises NoSessions where the engine has no sessions,
    UnknownSession where it knows none of that id and salt, and what EngineClient raises."""

    def __init__(self, client: Caller) -> None:
        self._client = client

    async def list(self, limit: int) -> list[dict[str, Any]]:
        """What the engine remembers of the latest sessions, the most recently used last."""
        value = await self._call("GET", f"/v1/sessions?limit={limit}", None)
        data = value.get("data")
        if not isinstance(data, list):
            raise EngineFailed("The engine's list of sessions is not a list")
        return [entry for entry in data if isinstance(entry, dict)]

    async def pin(self, session: EngineSession, wait: Wait, ttl_s: float) -> None:
        """Say what a session waits for, and for how many seconds at most."""
        body = {"reason": wait, "ttl_s": ttl_s, "cache_salt": session.cache_salt}
        await self._call("POST", f"{_path(session)}/pin", body)

    async def prefetch(self, session: EngineSession) -> None:
        """A message for the session has arrived: bring its KV near."""
        body = {"cache_salt": session.cache_salt}
        await self._call("POST", f"{_path(session)}/prefetch", body)

    async def close(self, session: EngineSession) -> None:
        """Nothing more is expected of the session."""
        await self._call("DELETE", _path(session), {"cache_salt": session.cache_salt})

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        status, headers, text = await self._client.call(method, path, body)
        if status != 200:
            error = refusal(status, headers, text)
            if status in UNKNOWN_STATUSES and not isinstance(error, UnknownSession):
                raise NoSessions
            raise error
        value = json_of(text)
        if not isinstance(value, dict):
            raise EngineFailed("The engine's answer about sessions is not an object")
        return value


def _path(session: EngineSession) -> str:
    return f"/v1/sessions/{quote(session.session_id or '', safe='')}"
