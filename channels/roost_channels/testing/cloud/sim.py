"""The /sim API of FakeCloud: what outside tests and a phone on a page use to play the people."""

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from roost_channels.testing.cloud.state import CloudPlan
from roost_channels.testing.sim import answer, shared_route

if TYPE_CHECKING:
    from roost_channels.testing.cloud.server import FakeCloud


class CloudSim:
    """JSON in, JSON out, in the same shape as FakeTwilio's; bad requests get 400 with a text."""

    def __init__(self, cloud: "FakeCloud") -> None:
        self._cloud = cloud

    async def handle(self, request: web.Request) -> web.StreamResponse:
        parts = [unquote(part) for part in request.rel_url.raw_path.strip("/").split("/")[1:]]
        return await answer(request, parts, self._route)

    async def _route(
        self, verb: str, parts: list[str], body: dict[str, Any], query: Mapping[str, str]
    ) -> dict[str, Any] | None:
        cloud = self._cloud
        match (verb, *parts):
            case ("GET", "users"):
                return {"users": [person.address for person in cloud.core.people.values()]}
            case ("GET", "users", user):
                return cloud.screen_json(user)
            case ("POST", "users", user, "messages"):
                return {"sid": await self._say(user, body)}
            case ("POST", "users", user, "press"):
                return {"sid": await cloud.press(user, str(body["sid"]), str(body["id"]))}
            case ("POST", "config"):
                self._configure(body)
                return {"ok": True}
        return await shared_route(cloud, verb, parts, body, query)

    async def _say(self, user: str, body: dict[str, Any]) -> str:
        media = [
            (base64.b64decode(item["data"]), str(item["content_type"]))
            for item in body.get("media") or []
        ]
        if len(media) > 1:
            raise ValueError("a message carries one file")
        return await self._cloud.user_says(
            user,
            str(body.get("text", "")),
            reply_to=str(body.get("reply_to_sid") or ""),
            profile_name=str(body.get("profile_name", "")),
            media=media[0] if media else None,
            wait=bool(body.get("wait", False)),
        )

    def _configure(self, body: dict[str, Any]) -> None:
        settings = self._cloud.settings
        for name, value in body.items():
            if name == "webhook_url":
                settings.webhook_url = str(value)
            elif name == "status_plan":
                settings.plan = CloudPlan(**value)
            elif name == "session_window_s":
                settings.session_window_s = None if value is None else float(value)
            else:
                raise ValueError(f"unknown setting {name!r}")
