"""The /sim API of the WhatsApp fakes: a sandbox page and outside tests play the users with it."""

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from roost_channels.testing.file_response import file_response
from roost_channels.testing.sim import shared_route, sim_response
from roost_channels.testing.whatsapp.server import WhatsAppFake
from roost_channels.testing.whatsapp.state import StatusPlan


class WhatsAppSim:
    """JSON in, JSON out; a bad request gets 400 with a text.

    url_settings: the names of settings beside `webhook_url` that hold URLs.
    """

    url_settings: tuple[str, ...] = ()

    def __init__(self, fake: WhatsAppFake[Any]) -> None:
        self._fake = fake

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request under /sim."""
        parts = [unquote(part) for part in request.rel_url.raw_path.strip("/").split("/")[1:]]
        if request.method == "GET" and parts[:1] == ["media"]:
            return self._media(parts[-1])
        return await sim_response(request, parts, self._route)

    async def provider_route(
        self, verb: str, parts: list[str], body: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Answer a path that one provider alone has; None for any other path."""
        return None

    async def _route(
        self, verb: str, parts: list[str], body: dict[str, Any], query: Mapping[str, str]
    ) -> dict[str, Any] | None:
        fake = self._fake
        match (verb, *parts):
            case ("GET", "users"):
                return {"users": [user.address for user in fake.core.users.values()]}
            case ("GET", "users", address):
                return fake.screen_json(address)
            case ("POST", "users", address, "messages"):
                return {"sid": await self._say(address, body)}
            case ("POST", "users", address, "press"):
                sid, choice = str(body["sid"]), str(body["id"])
                return {"sid": await fake.press(address, sid, choice, wait=False)}
            case ("POST", "users", address, "close_window"):
                fake.close_window(address)
                return {"ok": True}
            case ("POST", "config"):
                self._configure(body)
                return {"ok": True}
        answer = await self.provider_route(verb, parts, body)
        return answer or await shared_route(fake, verb, parts, body, query)

    def _media(self, id: str) -> web.Response:
        media = self._fake.core.media.get(id)
        if media is None:
            return web.json_response({"error": "no such media"}, status=404)
        return file_response(media.data, media.content_type)

    async def _say(self, address: str, body: dict[str, Any]) -> str:
        media = [
            (base64.b64decode(item["data"]), str(item["content_type"]))
            for item in body.get("media") or []
        ]
        return await self._fake.user_says(
            address,
            str(body.get("text", "")),
            reply_to=str(body.get("reply_to_sid") or ""),
            profile_name=str(body.get("profile_name", "")),
            media=media,
            file_name=str(body.get("file_name") or ""),
            wait=bool(body.get("wait", False)),
        )

    def _configure(self, body: dict[str, Any]) -> None:
        settings = self._fake.core.settings
        for name, value in body.items():
            if name in ("webhook_url", *self.url_settings):
                setattr(settings, name, str(value))
            elif name == "status_plan":
                settings.status_plan = StatusPlan(**value)
            elif name == "session_window_s":
                settings.session_window_s = None if value is None else float(value)
            else:
                raise ValueError(f"unknown setting {name!r}")
