"""The /sim API of the WhatsApp fakes: what a phone on a page and outside tests play people with."""

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from roost_channels.testing.file_response import download_headers
from roost_channels.testing.sim import answer, shared_route
from roost_channels.testing.whatsapp.server import WhatsAppFake
from roost_channels.testing.whatsapp.state import StatusPlan


class WhatsAppSim:
    """JSON in, JSON out; bad requests get 400 with a text.

    urls: settings beside `webhook_url` that are addresses of ours.
    """

    urls: tuple[str, ...] = ()

    def __init__(self, fake: WhatsAppFake[Any]) -> None:
        self._fake = fake

    async def handle(self, request: web.Request) -> web.StreamResponse:
        parts = [unquote(part) for part in request.rel_url.raw_path.strip("/").split("/")[1:]]
        if request.method == "GET" and parts[:1] == ["media"]:
            return self._media(parts[-1])
        return await answer(request, parts, self._route)

    async def more(self, verb: str, parts: list[str], body: dict[str, Any]) -> Any:
        """What one provider alone has; None when the path is none of these."""
        return None

    async def _route(
        self, verb: str, parts: list[str], body: dict[str, Any], query: Mapping[str, str]
    ) -> dict[str, Any] | None:
        fake = self._fake
        match (verb, *parts):
            case ("GET", "users"):
                return {"users": [person.address for person in fake.core.people.values()]}
            case ("GET", "users", user):
                return fake.screen_json(user)
            case ("POST", "users", user, "messages"):
                return {"sid": await self._say(user, body)}
            case ("POST", "users", user, "press"):
                sid, choice = str(body["sid"]), str(body["id"])
                return {"sid": await fake.press(user, sid, choice, wait=False)}
            case ("POST", "users", user, "close_window"):
                fake.close_window(user)
                return {"ok": True}
            case ("POST", "config"):
                self._configure(body)
                return {"ok": True}
        found = await self.more(verb, parts, body)
        return found or await shared_route(fake, verb, parts, body, query)

    def _media(self, id: str) -> web.Response:
        media = self._fake.core.media.get(id)
        if media is None:
            return web.json_response({"error": "no such media"}, status=404)
        return web.Response(body=media.data, headers=download_headers(media.content_type))

    async def _say(self, user: str, body: dict[str, Any]) -> str:
        media = [
            (base64.b64decode(item["data"]), str(item["content_type"]))
            for item in body.get("media") or []
        ]
        return await self._fake.user_says(
            user,
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
            if name in ("webhook_url", *self.urls):
                setattr(settings, name, str(value))
            elif name == "status_plan":
                settings.status_plan = StatusPlan(**value)
            elif name == "session_window_s":
                settings.session_window_s = None if value is None else float(value)
            else:
                raise ValueError(f"unknown setting {name!r}")
