"""Twilio's REST API, the few endpoints we use; the only place here that makes HTTP requests.

twilio's own client is not used: its asynchronous form has no time limit and leaks the transport's
errors.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from roost_channels.errors import (
    Ambiguous,
    AuthBroken,
    DeliveryError,
    NotSent,
    Rejected,
    Throttled,
    Unreachable,
    WindowClosed,
)
from roost_channels.whatsapp.config import TwilioConfig

API = "https://api.twilio.com"
MESSAGING = "https://messaging.twilio.com"
CONTENT = "https://content.twilio.com"
TIMEOUT_S = 20.0
CONNECT_TIMEOUT_S = 5.0
DEFAULT_RETRY_AFTER_S = 5.0

# Messages that came to nothing after their acceptance.
FAILED = frozenset({"failed", "undelivered", "canceled"})

# Twilio's error codes by what they mean for us; others are refusals.
_WINDOW = {63016}
_THROTTLED = {20429, 63018, 63017, 63038, 14107, 30001, 21611, 131056}
# Too many requests of the account, whoever they are for; the others are about one person.
_ACCOUNT_WIDE = {20429, 63017, 14107}
_UNREACHABLE = {21211, 21408, 21610, 21614, 63003, 63005, 63013, 63015, 63024, 63049}
_AUTH = {20003, 20005, 20006, 20008}


class TwilioClient:
    """One account. Raises DeliveryError for everything that can go wrong.

    transport: for simulations, which have no network.
    """

    def __init__(
        self, config: TwilioConfig, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        if not (config.account_sid and config.auth_token):
            raise ValueError("twilio.account_sid and twilio.auth_token are needed")
        self._api = (config.api_base or API).rstrip("/")
        self._messaging = (config.api_base or MESSAGING).rstrip("/")
        self._content = (config.api_base or CONTENT).rstrip("/")
        self._messages = f"{self._api}/2010-04-01/Accounts/{config.account_sid}/Messages"
        self._http = httpx2.AsyncClient(
            auth=(config.account_sid, config.auth_token.get_secret_value()),
            timeout=httpx2.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            transport=transport,
        )

    async def create_message(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Send a message; without proof of its outcome raises Ambiguous."""
        return await self._request("POST", f"{self._messages}.json", form=form, repeatable=False)

    async def fetch_message(self, sid: str, *, timeout_s: float = 5.0) -> dict[str, Any]:
        return await self._request(
            "GET", f"{self._messages}/{quote(sid, safe='')}.json", timeout_s=timeout_s
        )

    async def list_messages(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Messages that match, newest first, one page."""
        found, _ = await self.page_of_messages(query)
        return found

    async def page_of_messages(
        self, query: Mapping[str, str], following: str = ""
    ) -> tuple[list[dict[str, Any]], str]:
        """A page, newest first, and where the one after it is: pass that as `following`."""
        # Only the path of a following page is taken: the credentials go to no other host.
        split = urlsplit(following)
        path = f"{self._api}{split.path}?{split.query}" if following else f"{self._messages}.json"
        found = await self._request("GET", path, query=None if following else query)
        messages, more = found.get("messages"), found.get("next_page_uri")
        known = messages if isinstance(messages, list) else []
        return [m for m in known if isinstance(m, dict)], more if isinstance(more, str) else ""

    async def list_media(self, sid: str) -> list[tuple[str, str]]:
        """(URL, MIME type) of the files that came with a message."""
        url = f"{self._messages}/{quote(sid, safe='')}"
        found = await self._request("GET", f"{url}/Media.json")
        media = found.get("media_list")
        return [
            (f"{url}/Media/{quote(str(item['sid']), safe='')}", str(item.get("content_type") or ""))
            for item in (media if isinstance(media, list) else [])
            if isinstance(item, dict) and item.get("sid")
        ]

    async def indicate_typing(self, inbound_sid: str) -> None:
        """Mark an inbound message read and show typing, up to 25 s or until we answer."""
        form = {"channel": "whatsapp", "messageId": inbound_sid}
        url = f"{self._messaging}/v2/Indicators/Typing.json"
        await self._request("POST", url, form=form, timeout_s=5.0)

    async def contents_named(self, prefix: str, page_size: int, pages_max: int) -> dict[str, str]:
        """Content resources whose friendly name begins so: name to SID."""
        found: dict[str, str] = {}
        url = f"{self._content}/v1/Content?PageSize={page_size}"
        for _ in range(pages_max):
            page = await self._request("GET", url)
            listed = page.get("contents")
            for item in listed if isinstance(listed, list) else []:
                name = str(item.get("friendly_name") or "")
                if name.startswith(prefix):
                    found.setdefault(name, str(item.get("sid")))
            meta = page.get("meta")
            following = meta.get("next_page_url") if isinstance(meta, dict) else None
            if not isinstance(following, str) or not following:
                break
            split = urlsplit(following)
            url = f"{self._content}{split.path}?{split.query}"
        return found

    async def create_content(self, resource: Mapping[str, Any]) -> str:
        """Make a Content resource; returns its SID. A second one of the same name does no harm."""
        made = await self._request("POST", f"{self._content}/v1/Content", body=resource)
        sid = made.get("sid")
        if not isinstance(sid, str) or not sid:
            raise NotSent("a Content resource without a SID", code="decode")
        return sid

    async def fetch_media(self, url: str, bytes_max: int) -> bytes:
        """A file that came in. Credentials go to Twilio alone, not to where it redirects."""
        own = f"{self._api}{urlsplit(url).path}"  # whatever host a link names
        try:
            async with self._http.stream("GET", own, follow_redirects=True) as response:
                if response.status_code != 200:
                    body = await response.aread()
                    raise refusal(response.status_code, body, response.headers, repeatable=True)
                data = bytearray()
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > bytes_max:
                        raise Rejected(f"the file has more than {bytes_max} bytes")
        except (httpx2.HTTPError, OSError) as error:
            raise translate(error, repeatable=True) from error
        return bytes(data)

    async def close(self) -> None:
        await self._http.aclose()

    async def _request(
        self,
        verb: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        repeatable: bool = True,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        try:
            response = await self._http.request(
                verb,
                url,
                data=dict(form) if form else None,
                json=body,
                params=dict(query) if query else None,
                timeout=timeout_s or httpx2.USE_CLIENT_DEFAULT,
            )
        except (httpx2.HTTPError, OSError) as error:
            raise translate(error, repeatable=repeatable) from error
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if response.status_code < 300 and isinstance(answer, dict):
            return answer
        raise refusal(response.status_code, answer, response.headers, repeatable=repeatable)


def translate(error: Exception, *, repeatable: bool) -> DeliveryError:
    """A transport's failure: not sent where no connection was made, in doubt otherwise."""
    unsent = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
    words = str(error) or type(error).__name__
    if repeatable or isinstance(error, (*unsent, httpx2.UnsupportedProtocol)):
        return NotSent(words, code="network")
    return Ambiguous(words, code="network")


def refusal(
    status: int, body: Any, headers: Mapping[str, str], *, repeatable: bool
) -> DeliveryError:
    """What an answer other than a success means, by Twilio's code first, by HTTP status else."""
    known = body if isinstance(body, dict) else {}
    code = known.get("code")
    words = str(known.get("message") or f"HTTP {status}")
    if error := by_code(code, words, status, _retry_after(headers)):
        return error
    if status == 429:
        return Throttled(
            _retry_after(headers),
            words,
            code=str(code or ""),
            http_status=status,
            is_account_wide=True,
        )
    if status in (401, 403):
        return AuthBroken(words, code=str(code or ""), http_status=status)
    if status >= 500 or status < 300:
        kind = NotSent if repeatable else Ambiguous
        return kind(words, code=str(code or ""), http_status=status)
    return Rejected(words, code=str(code or ""), http_status=status)


def by_code(
    code: Any, words: str, status: int = 0, retry_after_s: float = DEFAULT_RETRY_AFTER_S
) -> DeliveryError | None:
    """The meaning of one of Twilio's error codes; None for those the HTTP status explains."""
    number = int(code) if str(code).isdigit() else 0
    if number in _WINDOW:
        return WindowClosed(words, code=str(number), http_status=status)
    if number in _THROTTLED:
        return Throttled(
            retry_after_s,
            words,
            code=str(number),
            http_status=status,
            is_account_wide=number in _ACCOUNT_WIDE,
        )
    if number in _UNREACHABLE:
        return Unreachable(words, code=str(number), http_status=status)
    if number in _AUTH:
        return AuthBroken(words, code=str(number), http_status=status)
    return None


def failure(status: str, code: Any, words: str) -> DeliveryError | None:
    """Why an accepted message came to nothing; None for one that did not."""
    if status not in FAILED:
        return None
    return by_code(code, words) or Rejected(words, code=str(code or ""))


def _retry_after(headers: Mapping[str, str]) -> float:
    given = headers.get("Retry-After", "")
    return float(given) if given.replace(".", "", 1).isdigit() else DEFAULT_RETRY_AFTER_S
