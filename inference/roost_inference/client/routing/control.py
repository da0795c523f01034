"""What the router asks engines for, beside the answers themselves."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote

import httpx2

from roost_inference.client.network import is_loopback, network_errors
from roost_inference.client.refusals import json_of, refusal
from roost_inference.client.routing.facts import CachedTokens, EngineSummary, Handover
from roost_inference.errors import EngineFailed, EngineUnavailable

CONNECT_TIMEOUT_S: Final = 2.0
ASK_TIMEOUT_S: Final = 5.0
BODY_BYTES_MAX: Final = 2**20
IDLE_CONNECTION_S: Final = 2.0  # see engine_client
NOT_OURS: Final = frozenset({400, 401, 403, 404, 405, 501})
REASON_CHARACTERS_MAX: Final = 80
GONE: Final = (404, 410)  # of a lease that has ended, which is no fault
SESSIONS_ASKED: Final = 1000


class Control(Protocol):
    """One engine, as the router asks it. Every method raises EngineError."""

    async def summary(self) -> EngineSummary | None:
        """What it tells of itself; None from an engine that answers and is none of ours."""
        ...

    async def sessions(self) -> list[str]:
        """The ids of the sessions that it knows."""
        ...

    async def lookup(self, body: Mapping[str, Any], session_id: str | None) -> CachedTokens:
        """How much of a prompt it need not compute."""
        ...

    async def prefill(self, body: Mapping[str, Any]) -> Handover:
        """Have it read the prompt of a chat request and keep the KV. A cancelled call that has
        its offer already returns it."""
        ...

    async def renew(self, request_id: str) -> bool:
        """Have it keep the KV for another while; False where it does not keep it any more."""
        ...

    async def release(self, request_id: str) -> None:
        """The KV is not needed any more; may be said twice."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class HttpControl:
    """One engine over HTTP; see Control."""

    def __init__(self, url: str, api_key: str = "") -> None:
        address = httpx2.URL(url.rstrip("/"))
        self._root = str(address).rstrip("/").removesuffix("/v1")
        headers = {"accept-encoding": "identity"}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(ASK_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=None),
            limits=httpx2.Limits(max_connections=None, keepalive_expiry=IDLE_CONNECTION_S),
            trust_env=not is_loopback(address.host),
        )

    async def close(self) -> None:
        """See Control."""
        await self._http.aclose()

    async def summary(self) -> EngineSummary | None:
        """See Control."""
        status, headers, body = await self._ask("GET", "/v1/kv/summary")
        if status == 200:
            return EngineSummary.of(json_of(body))
        if status in NOT_OURS:
            return None
        raise refusal(status, headers, body)

    async def sessions(self) -> list[str]:
        """See Control."""
        status, _, body = await self._ask("GET", f"/v1/sessions?limit={SESSIONS_ASKED}")
        value = json_of(body) if status == 200 else None
        listed = value.get("data") if isinstance(value, dict) else None
        entries = listed if isinstance(listed, list) else []
        return [
            one["id"] for one in entries if isinstance(one, dict) and isinstance(one.get("id"), str)
        ]

    async def lookup(self, body: Mapping[str, Any], session_id: str | None) -> CachedTokens:
        """See Control."""
        headers = {"x-session-id": session_id} if session_id else {}
        status, told, text = await self._ask("POST", "/v1/kv/lookup", body, headers)
        if status != 200:
            raise refusal(status, told, text)
        counts = CachedTokens.of(json_of(text))
        if counts is None:
            raise EngineFailed("The engine does not tell what it has of a prompt")
        return counts

    async def prefill(self, body: Mapping[str, Any]) -> Handover:
        """See Control."""
        offer: Handover | None = None
        value: Any = None
        url = f"{self._root}/v1/chat/completions"
        timeout = httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S)  # the caller has a bound
        try:
            with network_errors():
                async with self._http.stream("POST", url, json=body, timeout=timeout) as response:
                    text = await _read(response)
                    if response.status_code != 200:
                        raise refusal(response.status_code, response.headers, text)
                    value = json_of(text)
                    offer = Handover.of(value)
        except asyncio.CancelledError:
            if offer is None:
                raise
        if offer is None:
            raise EngineUnavailable(f"It makes no offer{_reason(value)}")
        return offer

    async def renew(self, request_id: str) -> bool:
        """See Control."""
        return await self._of_lease(request_id, "renew")

    async def release(self, request_id: str) -> None:
        """See Control."""
        await self._of_lease(request_id, "release")

    async def _of_lease(self, request_id: str, action: str) -> bool:
        """Whether the lease is still there."""
        path = f"/v1/kv/leases/{quote(request_id, safe='')}/{action}"
        status, headers, body = await self._ask("POST", path)
        if status not in (200, 204, *GONE):
            raise refusal(status, headers, body)
        return status not in GONE

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        with network_errors():
            async with self._http.stream(
                method, f"{self._root}{path}", json=body, headers=headers
            ) as response:
                return response.status_code, response.headers, await _read(response)


def _reason(value: Any) -> str:
    """Why a prefill engine offers nothing, as it says."""
    params = value.get("kv_transfer_params") if isinstance(value, dict) else None
    reason = params.get("reason") if isinstance(params, dict) else None
    return f": {reason[:REASON_CHARACTERS_MAX]}" if isinstance(reason, str) else ""


async def _read(response: httpx2.Response) -> bytes:
    """At most BODY_BYTES_MAX of the body."""
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= BODY_BYTES_MAX:
            break
    return body[:BODY_BYTES_MAX]
