"""Media of messages: what people sent, kept behind the credentials, and what we had fetched."""

from typing import Any
from urllib.parse import urlsplit

import httpx2
from aiohttp import web

from roost_channels.testing.file_response import download_headers
from roost_channels.testing.twilio.errors import not_found
from roost_channels.testing.twilio.messages import PAGE_SIZE_DEFAULT, find_message
from roost_channels.testing.twilio.state import (
    API_VERSION,
    TextMessage,
    TwilioCore,
    TwilioMedia,
    new_sid,
    rfc2822,
)

MEDIA_BYTES_MAX = 16 << 20
TOO_BIG = 11751
NOT_FETCHED = 63019
FETCH_TIMEOUT_S = 15.0
LOOPBACK = ("127.0.0.1", "localhost")


def media_json(core: TwilioCore, media: TwilioMedia) -> dict[str, Any]:
    account = core.settings.account_sid
    return {
        "account_sid": account,
        "content_type": media.content_type,
        "date_created": rfc2822(media.created_at),
        "date_updated": rfc2822(media.created_at),
        "parent_sid": media.parent_sid,
        "sid": media.id,
        "uri": f"/{API_VERSION}/Accounts/{account}/Messages/{media.parent_sid}"
        f"/Media/{media.id}.json",
    }


def list_media(core: TwilioCore, sid: str) -> dict[str, Any]:
    message = find_message(core, sid)
    found = [media_json(core, core.media[name]) for name in message.media]
    return {
        "media_list": found,
        "page": 0,
        "page_size": PAGE_SIZE_DEFAULT,
        "next_page_uri": None,
        "uri": f"/{API_VERSION}/Accounts/{core.settings.account_sid}/Messages/{sid}/Media.json",
    }


def find_media(core: TwilioCore, groups: dict[str, str], path: str) -> TwilioMedia:
    media = core.media.get(groups["media"])
    if media is None or media.parent_sid != groups["sid"]:
        raise not_found(path)
    return media


def delete_media(core: TwilioCore, groups: dict[str, str], path: str) -> None:
    media = find_media(core, groups, path)
    del core.media[media.id]
    core.messages[media.parent_sid].media.remove(media.id)


def redirect_to_file(core: TwilioCore, media: TwilioMedia) -> web.Response:
    """Another origin, as in reality: a client must not carry the credentials over."""
    port = core.base_url.rpartition(":")[2]
    location = f"http://localhost:{port}/cdn/{media.id}"
    return web.Response(status=307, headers={"Location": location})


def serve_file(core: TwilioCore, request: web.Request) -> web.Response:
    """The origin that a media URL redirects to."""
    media = core.media.get(request.path.removeprefix("/cdn/"))
    if media is None:
        return web.Response(status=404)
    if "Authorization" in request.headers:
        return web.Response(status=400, text="Only one auth mechanism allowed")
    return web.Response(body=media.data, headers=download_headers(media.content_type))


async def fetch_media(core: TwilioCore, message: TextMessage) -> int | None:
    """Fetch what an outbound message points at, before it is sent; the error when it can't be.

    URLs beyond loopback stand for themselves: the fake fetches nothing from the internet.
    """
    near = [url for url in message.media_urls if urlsplit(url).hostname in LOOPBACK]
    if not near:
        return None
    async with httpx2.AsyncClient(
        trust_env=False, timeout=FETCH_TIMEOUT_S, follow_redirects=True
    ) as client:
        for url in near:
            try:
                answer = await client.get(url, headers={"User-Agent": "TwilioProxy/1.1"})
            except httpx2.HTTPError:
                return NOT_FETCHED
            content_type = answer.headers.get("Content-Type", "")
            if not answer.is_success or not content_type:
                return NOT_FETCHED
            if len(answer.content) > MEDIA_BYTES_MAX:
                return TOO_BIG
            media = TwilioMedia(new_sid("ME"), content_type, answer.content, message.id, core.now())
            core.media[media.id] = media
            message.media.append(media.id)
    return None
