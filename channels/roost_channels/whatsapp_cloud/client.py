"""Meta's Graph API, the few calls we make; the only place of this adapter with HTTP requests."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx2

from roost_channels.errors import Ambiguous, NotSent, Rejected
from roost_channels.http.bodies import decoded, read_answer, read_bounded
from roost_channels.http.egress import Egress
from roost_channels.whatsapp.errors import unanswered
from roost_channels.whatsapp_cloud.config import WhatsAppCloudConfig
from roost_channels.whatsapp_cloud.errors import refusal

TIMEOUT_S = 20.0
CONNECT_TIMEOUT_S = 5.0
SIGNAL_TIMEOUT_S = 5.0
UPLOAD_TIMEOUT_S = 120.0
# Where Meta keeps what people send; links name no other host.
FILE_HOSTS = (".fbsbx.com", ".fbcdn.net", ".facebook.com", ".whatsapp.net", ".whatsapp.com")
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")


class CloudClient:
    """One business phone number. Raises DeliveryError for everything that can go wrong."""

    def __init__(self, config: WhatsAppCloudConfig) -> None:
        if not config.configured or config.access_token is None:
            raise ValueError("whatsapp_cloud.access_token and phone_number_id are needed")
        self._base = f"{config.api_base.rstrip('/')}/{config.api_version}"
        self._number = f"{self._base}/{quote(config.account, safe='')}"
        token = config.access_token.get_secret_value()
        self._credentials = {"Authorization": f"Bearer {token}"}
        self._egress = Egress(config.api_base)
        self._http = httpx2.AsyncClient(
            headers=self._credentials,
            timeout=httpx2.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        )

    async def send(self, to: str, message: Mapping[str, Any]) -> str:
        """Send a message to `whatsapp:+…` or `whatsapp:CC.…`; returns its id (wamid).

        Without proof of the outcome raises Ambiguous.
        """
        body = {
            "messaging_product": "whatsapp",
            **recipient(to),
            **message,
        }
        answer = await self._request("POST", f"{self._number}/messages", body, repeatable=False)
        messages = answer.get("messages")
        first = messages[0] if isinstance(messages, list) and messages else {}
        message_id = first.get("id") if isinstance(first, dict) else None
        if not isinstance(message_id, str) or not message_id:
            raise Ambiguous("accepted without an id", code="decode")
        return message_id

    async def show_typing(self, inbound_id: str) -> None:
        """Mark a message read and show typing, up to 25 s or until we answer."""
        body = {
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": inbound_id,
            "typing_indicator": {"type": "text"},
        }
        await self._request("POST", f"{self._number}/messages", body, timeout_s=SIGNAL_TIMEOUT_S)

    async def upload(self, data: bytes, mime_type: str, name: str) -> str:
        """Give Meta a file, kept for 30 days; returns its id."""
        form = {"messaging_product": "whatsapp", "type": mime_type}
        files = {"file": (name, data, mime_type)}
        answer = await self._request(
            "POST", f"{self._number}/media", form=form, files=files, timeout_s=UPLOAD_TIMEOUT_S
        )
        uploaded_id = answer.get("id")
        if not isinstance(uploaded_id, str) or not uploaded_id:
            raise NotSent("uploaded without an id", code="decode")
        return uploaded_id

    async def download(self, media_id: str, bytes_max: int) -> bytes:
        """A file that came in: its link is asked for each time, because links last minutes."""
        known = await self._request("GET", f"{self._base}/{quote(media_id, safe='')}")
        url, size = known.get("url"), str(known.get("file_size") or "0")[:20]
        if not isinstance(url, str) or not url:
            raise Rejected(f"media {media_id} has no link")
        if not is_metas(url, self._base):
            raise Rejected("the file's link leads to a host that gets no token", code="egress")
        if size.isdecimal() and int(size) > bytes_max:
            raise Rejected(f"the file has {size} bytes, more than {bytes_max}", code="too_large")
        try:
            async with self._egress.get(url, credentials=self._credentials) as response:
                if response.status_code != 200:
                    raise refusal(response.status_code, None, response.headers, repeatable=True)
                data = await read_bounded(response, bytes_max)
        except (httpx2.HTTPError, OSError) as error:
            raise unanswered(error, repeatable=True) from error
        if data is None:
            raise Rejected(f"the file has more than {bytes_max} bytes", code="too_large")
        return data

    async def number(self) -> dict[str, Any]:
        """The phone number as Meta knows it: proof that the token works."""
        return await self._request("GET", self._number, timeout_s=SIGNAL_TIMEOUT_S)

    async def close(self) -> None:
        """Release the connections."""
        await self._egress.close()
        await self._http.aclose()

    async def _request(
        self,
        verb: str,
        url: str,
        body: Mapping[str, Any] | None = None,
        *,
        form: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        repeatable: bool = True,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        try:
            async with self._http.stream(
                verb,
                url,
                json=body,
                data=form,
                files=files,
                timeout=timeout_s or httpx2.USE_CLIENT_DEFAULT,
            ) as response:
                answer = decoded(await read_answer(response))
        except (httpx2.HTTPError, OSError) as error:
            raise unanswered(error, repeatable=repeatable) from error
        if response.status_code < 300 and isinstance(answer, dict) and "error" not in answer:
            return answer
        raise refusal(response.status_code, answer, response.headers, repeatable=repeatable)


def is_metas(url: str, api_base: str) -> bool:
    """Whether a file's link may get the token: at the API itself, or at a host of Meta's files."""
    try:
        link, base = httpx2.URL(url), httpx2.URL(api_base)
    except (httpx2.InvalidURL, ValueError):
        return False
    if (link.scheme, _place(link), link.port) == (base.scheme, _place(base), base.port):
        return True
    is_plain = link.scheme == "https" and link.port is None and not link.userinfo
    return is_plain and f".{link.host}".endswith(FILE_HOSTS)


def _place(url: httpx2.URL) -> str:
    return "localhost" if url.host in LOOPBACK_NAMES else url.host


def recipient(address: str) -> dict[str, str]:
    """`to` for a phone number or a group, `recipient` for a business-scoped id."""
    name = address.removeprefix("whatsapp:")
    if name.startswith("group:"):
        return {"recipient_type": "group", "to": name.removeprefix("group:")}
    known = {"to": name.removeprefix("+")} if name.startswith("+") else {"recipient": name}
    return {"recipient_type": "individual", **known}
