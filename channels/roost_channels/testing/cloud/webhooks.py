"""Delivers webhooks as Meta does: batched, signed over the raw body, repeated until accepted."""

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

import httpx2

from roost_channels.testing.cloud.state import CloudCore
from roost_channels.testing.whatsapp.webhooks import WebhookAttempt, WebhookClient

# Meta repeats for up to seven days, ever more rarely; a test does not wait that long.
TRIES_MAX = 8
RETRY_S = 0.05
TIMEOUT_S = 10.0
BUSINESS_ACCOUNT_ID = "102290129340398"


class CloudWebhookClient(WebhookClient[CloudCore]):
    """Posts to the app's one webhook."""

    async def call(self, values: Sequence[dict[str, Any]], kind: str) -> bool:
        """Post the values as one webhook until it is accepted; False when it never was.

        kind: `inbound` or `status`, the name under which faults strike each try.
        """
        if not self._core.settings.webhook_url:
            return False
        changes = [{"value": value, "field": "messages"} for value in values]
        payload = {
            "object": "whatsapp_business_account",
            "entry": [{"id": BUSINESS_ACCOUNT_ID, "changes": changes}],
        }
        wait_s = RETRY_S
        for _ in range(TRIES_MAX):
            fault = self._core.faults.take(kind, ("drop_before", "delay", "duplicate_update"))
            if fault is not None and fault.kind == "delay":
                await self._core.clock.sleep(fault.value)
            if fault is None or fault.kind != "drop_before":
                attempt = await self._try(payload)
                if fault is not None and fault.kind == "duplicate_update":
                    await self._try(payload)
                if attempt.status == 200:
                    return True
            await self._core.clock.sleep(wait_s)
            wait_s *= 2
        return False

    async def _try(self, payload: dict[str, Any]) -> WebhookAttempt:
        settings = self._core.settings
        # Meta escapes what is not ASCII, and signs what it sends.
        content = json.dumps(payload, ensure_ascii=True).encode()
        digest = hmac.new(settings.app_secret.encode(), content, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "facebookexternalua",
            "X-Hub-Signature-256": f"sha256={digest}",
        }
        timeout = httpx2.Timeout(TIMEOUT_S)
        return await self.post(settings.webhook_url, payload, content, headers, timeout)
