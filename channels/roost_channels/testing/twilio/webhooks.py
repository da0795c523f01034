"""Delivers webhooks as Twilio does: signed, retried by the URL's fragment, within 15 seconds."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, urldefrag, urlencode

import httpx2

from roost_channels.testing.twilio.signature import signature_headers
from roost_channels.testing.twilio.state import TwilioCore, new_sid
from roost_channels.testing.whatsapp.webhooks import WebhookAttempt, WebhookClient

RETRIES_MAX = 5


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a webhook is tried again.

    `#rc=5&rp=4xx,5xx,ct,rt&ct=2000&rt=15000` at the end of its URL means: up to five more tries,
    after these failures, with these time limits in milliseconds.
    """

    count: int
    after: frozenset[str]
    connect_s: float
    read_s: float


def retry_policy(fragment: str, connect_s: float, total_s: float) -> RetryPolicy:
    """Read a URL's fragment; the default is one retry after a connection that was not made."""
    options = dict(parse_qsl(fragment))
    after = frozenset(options.get("rp", "ct").split(","))
    if "all" in after:
        after = frozenset(("4xx", "5xx", "ct", "rt"))
    return RetryPolicy(
        min(max(int(options.get("rc", "1")), 0), RETRIES_MAX),
        after,
        min(max(int(options.get("ct", connect_s * 1000)), 100), 10_000) / 1000,
        min(max(int(options.get("rt", total_s * 1000)), 100), 15_000) / 1000,
    )


class TwilioWebhookClient(WebhookClient[TwilioCore]):
    """Calls the account owner's URLs."""

    async def call(self, configured_url: str, parameters: dict[str, str]) -> WebhookAttempt:
        """Try until an attempt succeeds or no retry is left; returns the last attempt."""
        settings = self._core.settings
        url, fragment = urldefrag(configured_url)
        policy = retry_policy(fragment, settings.connect_timeout_s, settings.webhook_timeout_s)
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "User-Agent": "TwilioProxy/1.1",
            "Accept": "*/*",
            "I-Twilio-Idempotency-Token": new_sid("")[:32],
            **signature_headers(url, parameters, settings.auth_token, settings.shared_key),
        }
        content = urlencode(parameters).encode()
        timeout = httpx2.Timeout(policy.read_s, connect=policy.connect_s)
        deadline = self._core.now() + settings.webhook_timeout_s
        attempt = await self.post(url, parameters, content, headers, timeout)
        for _ in range(policy.count):
            if _failure_class(attempt) not in policy.after or self._core.now() >= deadline:
                break
            attempt = await self.post(url, parameters, content, headers, timeout)
        return attempt


def _failure_class(attempt: WebhookAttempt) -> str:
    """How a retry policy names the failure; empty for a success."""
    if attempt.problem:
        return attempt.problem[:2]
    if attempt.status >= 500:
        return "5xx"
    return "4xx" if attempt.status >= 400 else ""
