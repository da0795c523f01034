"""One account's calls through twilio's Client, each marked as safe to repeat or not.

The Client's API versions are asked for JSON: its classes of resources stop at a date that they
can't parse, and what proves that a message was accepted must be readable whatever a newer server
says beside it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import httpx2
from twilio.base.version import Version  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from roost_channels.errors import Ambiguous, NotSent
from roost_channels.whatsapp.config import TwilioConfig
from roost_channels.whatsapp.http import JSON_CONTENT, TIMEOUT_S, TwilioHttp

SIGNAL_TIMEOUT_S = 5.0
# twilio's Client looks for these in the environment, which only our settings may read.
_ENVIRONMENT = {"TWILIO_EDGE": "", "TWILIO_REGION": ""}


class TwilioClient:
    """One account. Raises DeliveryError for everything that can go wrong.

    transport: for simulations, which have no network.
    """

    def __init__(
        self, config: TwilioConfig, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        if not (config.account_sid and config.auth_token):
            raise ValueError("twilio.account_sid and twilio.auth_token are needed")
        self._auth = (config.account_sid, config.auth_token.get_secret_value())
        self._http = TwilioHttp(config.api_base or "", transport=transport)
        self._twilio = Client(*self._auth, http_client=self._http, environment=_ENVIRONMENT)
        self._api: Version = self._twilio.api.v2010
        self._messages = f"/Accounts/{config.account_sid}/Messages"

    async def create_message(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Send a message; without proof of its outcome raises Ambiguous."""
        made: dict[str, Any] = await self._api.create_async(
            "POST", f"{self._messages}.json", data=dict(form)
        )
        return made

    async def fetch_message(
        self, sid: str, *, timeout_s: float = SIGNAL_TIMEOUT_S
    ) -> dict[str, Any]:
        """One message as Twilio holds it. Raises DeliveryError."""
        return await _fetched(self._api, f"{self._message(sid)}.json", timeout_s=timeout_s)

    async def list_messages(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Messages that match, newest first, one page."""
        messages, _ = await self.page_of_messages(query)
        return messages

    async def page_of_messages(
        self, query: Mapping[str, str], following: str = ""
    ) -> tuple[list[dict[str, Any]], str]:
        """A page, newest first, and where the one after it is: pass that as `following`."""
        page = _query(following) if following else query
        answer = await _fetched(self._api, f"{self._messages}.json", page)
        messages, more = answer.get("messages"), answer.get("next_page_uri")
        known = messages if isinstance(messages, list) else []
        return [m for m in known if isinstance(m, dict)], more if isinstance(more, str) else ""

    async def list_media(self, sid: str) -> list[tuple[str, str]]:
        """(URL, MIME type) of the files that came with a message."""
        answer = await _fetched(self._api, f"{self._message(sid)}/Media.json")
        media = answer.get("media_list")
        url = self._api.absolute_url(f"{self._message(sid)}/Media")
        return [
            (f"{url}/{quote(str(item['sid']), safe='')}", str(item.get("content_type") or ""))
            for item in (media if isinstance(media, list) else [])
            if isinstance(item, dict) and item.get("sid")
        ]

    async def indicate_typing(self, inbound_sid: str) -> None:
        """Mark an inbound message read and show typing, up to 25 s or until we answer."""
        form = {"channel": "whatsapp", "messageId": inbound_sid}
        with _repeatable():
            await self._twilio.messaging.v2.create_async(
                "POST", "/Indicators/Typing.json", data=form, timeout=SIGNAL_TIMEOUT_S
            )

    async def contents_named(self, prefix: str, page_size: int, pages_max: int) -> dict[str, str]:
        """Content resources whose friendly name begins so: name to SID."""
        sids: dict[str, str] = {}
        query: Mapping[str, str] = {"PageSize": str(page_size)}
        for _ in range(pages_max):
            page = await _fetched(self._twilio.content.v1, "/Content", query)
            listed = page.get("contents")
            for item in listed if isinstance(listed, list) else []:
                name = str(item.get("friendly_name") or "")
                if name.startswith(prefix):
                    sids.setdefault(name, str(item.get("sid")))
            meta = page.get("meta")
            following = meta.get("next_page_url") if isinstance(meta, dict) else None
            if not isinstance(following, str) or not following:
                break
            query = _query(following)
        return sids

    async def create_content(self, resource: Mapping[str, Any]) -> str:
        """Make a Content resource; returns its SID. A second one of the same name does no harm."""
        with _repeatable():
            made = await self._twilio.content.v1.create_async(
                "POST", "/Content", data=dict(resource), headers=dict(JSON_CONTENT)
            )
        sid = made.get("sid")
        if not isinstance(sid, str) or not sid:
            raise NotSent("a Content resource without a SID", code="decode")
        return sid

    async def fetch_media(self, url: str, bytes_max: int) -> bytes:
        """A file that came in; it is asked of Twilio, whatever host its link names."""
        own = self._api.domain.absolute_url(urlsplit(url).path)
        with _repeatable():
            return await self._http.download(own, self._auth, bytes_max)

    async def close(self) -> None:
        """Close the HTTP client."""
        await self._http.close()

    def _message(self, sid: str) -> str:
        return f"{self._messages}/{quote(sid, safe='')}"


async def _fetched(
    version: Version,
    uri: str,
    query: Mapping[str, str] | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Any]:
    with _repeatable():
        answer: dict[str, Any] = await version.fetch_async(
            "GET", uri, params=dict(query or {}), timeout=timeout_s
        )
    return answer


def _query(following: str) -> dict[str, str]:
    """What the next page is asked by. Its host is not asked: it would get our credentials."""
    return dict(parse_qsl(urlsplit(following).query))


@contextmanager
def _repeatable() -> Iterator[None]:
    """A call that changes nothing when made twice: an unknown outcome is as good as none."""
    try:
        yield
    except Ambiguous as error:
        raise NotSent(error.description, code=error.code, http_status=error.http_status) from error
