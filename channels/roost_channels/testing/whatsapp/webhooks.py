"""Sends webhooks to the account's owner and keeps a record of each attempt."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx2

from roost_channels.testing.whatsapp.state import WhatsAppCore

ATTEMPTS_KEPT = 100_000
NO_CONNECTION = "ct"
NO_RESPONSE = "rt"

CoreT = TypeVar("CoreT", bound=WhatsAppCore[Any, Any, Any])


@dataclass(frozen=True, slots=True)
class WebhookAttempt:
    """One POST of a webhook.

    parameters: the form fields (Twilio) or the JSON object (Meta) that were sent.
    status, body: the response; the status is 0 when no response came.
    problem: why no response came: `ct …` for a connection that could not be made, `rt …` for one
        that broke or was too slow.
    """

    url: str
    parameters: dict[str, Any]
    headers: dict[str, str]
    started_at: float
    status: int
    body: str
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether the owner answered with a 2xx status."""
        return 200 <= self.status < 300


class WebhookClient(Generic[CoreT]):
    """The HTTP client behind a provider's webhooks; the oldest attempts go after ATTEMPTS_KEPT."""

    def __init__(self, core: CoreT, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self.attempts: list[WebhookAttempt] = []
        self._core = core
        self._transport = transport
        self._client: httpx2.AsyncClient | None = None

    async def start(self) -> None:
        """Open the HTTP client."""
        self._client = httpx2.AsyncClient(trust_env=False, transport=self._transport)

    async def stop(self) -> None:
        """Close the HTTP client."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def post(
        self,
        url: str,
        parameters: dict[str, Any],
        content: bytes,
        headers: dict[str, str],
        timeout: httpx2.Timeout,
    ) -> WebhookAttempt:
        """POST `content` once and record the attempt. parameters: what `content` encodes."""
        if self._client is None:
            raise RuntimeError("the fake is not running")
        started_at = self._core.now()
        status, body, problem = 0, "", ""
        try:
            response = await self._client.post(
                url, content=content, headers=headers, timeout=timeout
            )
            status, body = response.status_code, response.text
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            problem = f"{NO_CONNECTION} {error}"
        except httpx2.HTTPError as error:
            problem = f"{NO_RESPONSE} {error}"
        attempt = WebhookAttempt(url, parameters, headers, started_at, status, body, problem)
        self.attempts.append(attempt)
        del self.attempts[:-ATTEMPTS_KEPT]
        self._core.changed()
        return attempt
