"""Media of messages: users' files behind the credentials, and files fetched for us."""

from typing import Any
from urllib.parse import urlsplit

import httpx2
from aiohttp import web

from roost_channels.testing.file_response import file_response
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
    """The Media resource as the API returns it."""
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
    """All Media resources of a message, on one page."""
    message = find_message(core, sid)
    return {
        "media_list": [media_json(core, core.media[name]) for name in message.media],
        "page": 0,
        "page_size": PAGE_SIZE_DEFAULT,
        "next_page_uri": None,
        "uri": f"/{API_VERSION}/Accounts/{core.settings.account_sid}/Messages/{sid}/Media.json",
    }


def find_media(core: TwilioCore, groups: dict[str, str], path: str) -> TwilioMedia:
    """The file that a path names; TwilioError 20404 when the message has none such."""
    media = core.media.get(groups["media"])
    if media is None or media.parent_sid != groups["sid"]:
        raise not_found(path)
    return media


def delete_media(core: TwilioCore, groups: dict[str, str], path: str) -> None:
    """Delete a file of a message."""
    media = find_media(core, groups, path)
    del core.media[media.id]
    core.messages[media.parent_sid].media.remove(media.id)


def redirect_to_file(core: TwilioCore, media: TwilioMedia) -> web.Response:
    """Redirect to another origin, as Twilio does: clients must not send credentials there."""
    port = core.base_url.rpartition(":")[2]
    location = f"http://localhost:{port}/cdn/{media.id}"
    return web.Response(status=307, headers={"Location": location})


def serve_file(core: TwilioCore, request: web.Request) -> web.Response:
    """Serve a file from the origin that a media URL redirects to; no credentials allowed."""
    media = core.media.get(request.path.removeprefix("/cdn/"))
    if media is None:
        return web.Response(status=404)
    if "Authorization" in request.headers:
        return web.Response(status=400, text="Only one auth mechanism allowed")
    return file_response(media.data, media.content_type)


async def fetch_media(core: TwilioCore, message: TextMessage) -> int | None:
    """Fetch the files of an outbound message before it is sent; returns an error code or None.

    The fake fetches nothing from the internet: URLs of other hosts are kept as they are.
    """
    local_urls = [url for url in message.media_urls if urlsplit(url).hostname in LOOPBACK]
    if not local_urls:
        return None
    async with httpx2.AsyncClient(
        trust_env=False, timeout=FETCH_TIMEOUT_S, follow_redirects=True
    ) as client:
        for url in local_urls:
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
