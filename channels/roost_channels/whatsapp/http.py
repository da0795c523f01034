"""The HTTP under twilio's Client: our client and time limits, and every failure a DeliveryError."""

import logging
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
from twilio.http import AsyncHttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]

from roost_channels.errors import Rejected
from roost_channels.http.bodies import decoded, read_answer, read_bounded
from roost_channels.http.egress import Egress
from roost_channels.whatsapp.errors import refused, unanswered

TIMEOUT_S = 20.0
CONNECT_TIMEOUT_S = 5.0
JSON_CONTENT = {"Content-Type": "application/json"}

logger = logging.getLogger(__name__)


class TwilioHttp(AsyncHttpClient):  # type: ignore[misc]
    """Carries the calls of twilio's Client over httpx2. Redirects are not followed.

    api_base: takes the place of Twilio's hosts where it is set.
    transport: for simulations, which have no network.
    """

    def __init__(
        self, api_base: str = "", *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        super().__init__(logger, is_async=True, timeout=TIMEOUT_S)
        self._base = api_base.rstrip("/")
        self._http = httpx2.AsyncClient(timeout=_limits(TIMEOUT_S), transport=transport)
        self._egress = Egress(self._base, transport=transport)

    async def request(
        self,
        method: str,
        uri: str,
        params: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        """A success with a JSON object in it; nothing else is given to twilio's Client.

        Raises Ambiguous where the request left and no proof of its outcome came back.
        """
        # twilio's Client names the content type, as its own HTTP client encodes by it.
        is_json = (headers or {}).get("Content-Type") == JSON_CONTENT["Content-Type"]
        try:
            async with self._http.stream(
                method,
                self._url(uri),
                params=params,
                headers=headers,
                auth=auth,
                timeout=_limits(timeout or TIMEOUT_S),
                json=data if is_json else None,
                data=None if is_json else data,
            ) as response:
                body = await read_answer(response)
        except (httpx2.HTTPError, OSError) as error:
            raise unanswered(error) from error
        answer = decoded(body)
        if body is None or response.status_code >= 300 or not isinstance(answer, dict):
            raise refused(response.status_code, answer, response.headers)
        return Response(response.status_code, body.decode(), response.headers)

    async def download(self, uri: str, auth: tuple[str, str], bytes_max: int) -> bytes:
        """A file. The credentials go to Twilio alone, not to where it redirects."""
        credentials = {"Authorization": f"Basic {b64encode(':'.join(auth).encode()).decode()}"}
        try:
            async with self._egress.get(self._url(uri), credentials=credentials) as response:
                return await _file(response, bytes_max)
        except (httpx2.HTTPError, OSError) as error:
            raise unanswered(error) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._egress.close()
        await self._http.aclose()

    def _url(self, uri: str) -> str:
        if not self._base:
            return uri
        split = urlsplit(uri)
        return f"{self._base}{split.path}{f'?{split.query}' if split.query else ''}"


async def _file(response: httpx2.Response, bytes_max: int) -> bytes:
    if response.status_code != 200:
        answer = decoded(await read_answer(response))
        raise refused(response.status_code, answer, response.headers)
    data = await read_bounded(response, bytes_max)
    if data is None:
        raise Rejected(f"the file has more than {bytes_max} bytes", code="too_large")
    return data


def _limits(timeout_s: float) -> httpx2.Timeout:
    return httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
