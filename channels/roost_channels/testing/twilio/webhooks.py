"""Delivers webhooks as Twilio does: signed, retried by the URL's fragment, within 15 seconds."""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urldefrag, urlencode

import httpx2

from roost_channels.testing.twilio.signature import signature_headers
from roost_channels.testing.twilio.state import TwilioCore, new_sid

RETRIES_MAX = 5
WEBHOOKS_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`#rc=5&rp=4xx,5xx,ct,rt&ct=2000&rt=15000`: how often, after what; timeouts in ms."""

    count: int
    after: frozenset[str]
    connect_s: float
    read_s: float


def retry_policy(fragment: str, connect_s: float, total_s: float) -> RetryPolicy:
    """By default one retry, and only of a connection that could not be made."""
    given = dict(parse_qsl(fragment))
    after = frozenset(given.get("rp", "ct").split(","))
    if "all" in after:
        after = frozenset(("4xx", "5xx", "ct", "rt"))
    return RetryPolicy(
        min(max(int(given.get("rc", "1")), 0), RETRIES_MAX),
        after,
        min(max(int(given.get("ct", connect_s * 1000)), 100), 10_000) / 1000,
        min(max(int(given.get("rt", total_s * 1000)), 100), 15_000) / 1000,
    )


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a webhook; status 0 when no answer came."""

    url: str
    parameters: dict[str, str]
    headers: dict[str, str]
    started_at: float
    status: int
    body: str
    problem: str = ""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


@dataclass(slots=True)
class WebhookCaller:
    """Calls the account owner's URLs and keeps what happened."""

    core: TwilioCore
    attempts: list[Attempt] = field(default_factory=list)
    transport: httpx2.AsyncBaseTransport | None = None
    _client: httpx2.AsyncClient | None = None

    async def start(self) -> None:
        self._client = httpx2.AsyncClient(trust_env=False, transport=self.transport)

    async def stop(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def call(self, configured_url: str, parameters: dict[str, str]) -> Attempt:
        """Try until it is taken or the retries are used up; returns the last try."""
        settings = self.core.settings
        url, fragment = urldefrag(configured_url)
        policy = retry_policy(fragment, settings.connect_timeout_s, settings.webhook_timeout_s)
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "User-Agent": "TwilioProxy/1.1",
            "Accept": "*/*",
            "I-Twilio-Idempotency-Token": new_sid("")[:32],
            **signature_headers(url, parameters, settings.auth_token, settings.shared_key),
        }
        deadline = self.core.now() + settings.webhook_timeout_s
        attempt = await self._try(url, parameters, headers, policy)
        for _ in range(policy.count):
            if _retry_class(attempt) not in policy.after or self.core.now() >= deadline:
                break
            attempt = await self._try(url, parameters, headers, policy)
        return attempt

    async def _try(
        self, url: str, parameters: dict[str, str], headers: dict[str, str], policy: RetryPolicy
    ) -> Attempt:
        if self._client is None:
            raise RuntimeError("the fake is not running")
        started = self.core.now()
        status, body, problem = 0, "", ""
        try:
            answer = await self._client.post(
                url,
                content=urlencode(parameters).encode(),
                headers=headers,
                timeout=httpx2.Timeout(policy.read_s, connect=policy.connect_s),
            )
            status, body = answer.status_code, answer.text
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            problem = f"ct {error}"
        except httpx2.HTTPError as error:
            problem = f"rt {error}"
        attempt = Attempt(url, parameters, headers, started, status, body, problem)
        self.attempts.append(attempt)
        del self.attempts[:-WEBHOOKS_KEPT]
        self.core.changed()
        return attempt


def _retry_class(attempt: Attempt) -> str:
    if attempt.problem:
        return attempt.problem[:2]
    if attempt.status >= 500:
        return "5xx"
    return "4xx" if attempt.status >= 400 else ""
