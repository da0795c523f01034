"""Delivers webhooks as Meta does: batched, signed over the raw body, repeated until taken."""

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from roost_channels.testing.cloud.state import CloudCore

# Meta repeats for up to seven days, ever more rarely; a test does not wait that long.
TRIES_MAX = 8
RETRY_S = 0.05
TIMEOUT_S = 10.0
WEBHOOKS_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class CloudAttempt:
    """One try of a webhook; status 0 when no answer came."""

    body: bytes
    signature: str
    started_at: float
    status: int

    @property
    def ok(self) -> bool:
        return self.status == 200

    @property
    def payload(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class CloudCaller:
    """Posts to the app's webhook and keeps what happened."""

    core: CloudCore
    attempts: list[CloudAttempt] = field(default_factory=list)
    _client: httpx2.AsyncClient | None = None

    async def start(self) -> None:
        self._client = httpx2.AsyncClient(trust_env=False, timeout=TIMEOUT_S)

    async def stop(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def call(self, values: Sequence[dict[str, Any]], kind: str) -> bool:
        """One POST with these values, tried until taken; faults for `kind` strike each try."""
        if not self.core.settings.webhook_url:
            return False
        changes = [{"value": value, "field": "messages"} for value in values]
        payload = {
            "object": "whatsapp_business_account",
            "entry": [{"id": "102290129340398", "changes": changes}],
        }
        # Meta escapes what is not ASCII, and signs what it sends.
        body = json.dumps(payload, ensure_ascii=True).encode()
        wait_s = RETRY_S
        for _ in range(TRIES_MAX):
            fault = self.core.faults.take(kind, ("drop_before", "delay", "duplicate_update"))
            if fault is not None and fault.kind == "delay":
                await self.core.clock.sleep(fault.value)
            if fault is None or fault.kind != "drop_before":
                attempt = await self._try(body)
                if fault is not None and fault.kind == "duplicate_update":
                    await self._try(body)
                if attempt.ok:
                    return True
            await self.core.clock.sleep(wait_s)
            wait_s *= 2
        return False

    async def _try(self, body: bytes) -> CloudAttempt:
        if self._client is None:
            raise RuntimeError("the fake is not running")
        settings = self.core.settings
        digest = hmac.new(settings.app_secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "facebookexternalua",
            "X-Hub-Signature-256": f"sha256={digest}",
        }
        started, status = self.core.now(), 0
        try:
            answer = await self._client.post(settings.webhook_url, content=body, headers=headers)
            status = answer.status_code
        except httpx2.HTTPError:
            status = 0
        attempt = CloudAttempt(body, headers["X-Hub-Signature-256"], started, status)
        self.attempts.append(attempt)
        del self.attempts[:-WEBHOOKS_KEPT]
        self.core.changed()
        return attempt
