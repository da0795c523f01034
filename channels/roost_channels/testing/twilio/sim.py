"""The /sim API of FakeTwilio: what the sandbox's phone and outside tests use to play the people."""

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from roost_channels.testing.sim import answer, shared_route
from roost_channels.testing.twilio.state import StatusPlan

if TYPE_CHECKING:
    from roost_channels.testing.twilio.server import FakeTwilio

_SETTINGS = ("webhook_url", "fallback_url", "status_callback")


class SimApi:
    """JSON in, JSON out; bad requests get 400 with a text."""

    def __init__(self, twilio: "FakeTwilio") -> None:
        self._twilio = twilio

    async def handle(self, request: web.Request) -> web.StreamResponse:
        parts = [unquote(part) for part in request.rel_url.raw_path.strip("/").split("/")[1:]]
        if request.method == "GET" and parts[:1] == ["media"]:
            return self._media(parts[-1])
        return await answer(request, parts, self._route)

    async def _route(
        self, verb: str, parts: list[str], body: dict[str, Any], query: Mapping[str, str]
    ) -> dict[str, Any] | None:
        twilio = self._twilio
        match (verb, *parts):
            case ("GET", "users"):
                return {"users": [person.address for person in twilio.core.people.values()]}
            case ("GET", "users", user):
                return twilio.screen_json(user)
            case ("POST", "users", user, "messages"):
                return {"sid": await self._say(user, body)}
            case ("POST", "users", user, "press"):
                sid = await twilio.press(user, str(body["sid"]), str(body["id"]), wait=False)
                return {"sid": sid}
            case ("POST", "users", user, "location"):
                place = (float(body["latitude"]), float(body["longitude"]))
                return {"sid": await twilio.user_sends_location(user, *place, wait=False)}
            case ("POST", "users", user, "close_window"):
                twilio.close_window(user)
                return {"ok": True}
            case ("POST", "contents", sid, "approve"):
                twilio.approve_content(sid, str(body.get("status", "approved")))
                return {"ok": True}
            case ("POST", "config"):
                self._configure(body)
                return {"ok": True}
            case ("GET", "complaints"):
                return {"complaints": twilio.complaints}
        return await shared_route(twilio, verb, parts, body, query)

    def _media(self, sid: str) -> web.Response:
        media = self._twilio.core.media.get(sid)
        if media is None:
            return web.json_response({"error": "no such media"}, status=404)
        return web.Response(body=media.data, headers={"Content-Type": media.content_type})

    async def _say(self, user: str, body: dict[str, Any]) -> str:
        media = [
            (base64.b64decode(item["data"]), str(item["content_type"]))
            for item in body.get("media") or []
        ]
        return await self._twilio.user_says(
            user,
            str(body.get("text", "")),
            reply_to_sid=body.get("reply_to_sid"),
            profile_name=str(body.get("profile_name", "")),
            media=media,
            wait=bool(body.get("wait", False)),
        )

    def _configure(self, body: dict[str, Any]) -> None:
        settings = self._twilio.settings
        for name, value in body.items():
            if name in _SETTINGS:
                setattr(settings, name, str(value))
            elif name == "status_plan":
                settings.status_plan = StatusPlan(**value)
            elif name == "session_window_s":
                settings.session_window_s = None if value is None else float(value)
            else:
                raise ValueError(f"unknown setting {name!r}")
