"""The /sim API: what the sandbox's phones and outside tests use to play the people."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from roost_channels.testing.sim import shared_route

if TYPE_CHECKING:
    from roost_channels.testing.telegram.server import FakeTelegram


class SimApi:
    """JSON in, JSON out; bad requests get 400 with a text."""

    def __init__(self, telegram: "FakeTelegram") -> None:
        self._telegram = telegram

    async def handle(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")[1:]
        try:
            body: dict[str, Any] = await request.json() if request.can_read_body else {}
            answer = await self._route(request.method, parts, body, request.query)
        except (ValueError, KeyError, TypeError) as problem:
            return web.json_response({"error": str(problem)}, status=400)
        if answer is None:
            return web.json_response({"error": "not found"}, status=404)
        return web.json_response(answer)

    async def _route(
        self, verb: str, parts: list[str], body: dict[str, Any], query: Mapping[str, str]
    ) -> dict[str, Any] | None:
        telegram = self._telegram
        match (verb, *parts):
            case ("GET", "chats"):
                chats = telegram.core.world.chats.values()
                return {"chats": [chat.to_json() for chat in chats]}
            case ("POST", "chats"):
                topics = (
                    {int(k): str(v) for k, v in body["topics"].items()}
                    if "topics" in body
                    else None
                )
                chat = telegram.add_group(
                    int(body["id"]), str(body.get("title", "Group")), topics=topics
                )
                return chat.to_json()
            case ("GET", "chats", chat_id):
                return telegram.screen_json(int(chat_id))
            case ("POST", "chats", chat_id, action):
                return await self._act(int(chat_id), action, body)
        return await shared_route(telegram, verb, parts, body, query)

    async def _act(self, chat_id: int, action: str, body: dict[str, Any]) -> dict[str, Any] | None:
        telegram = self._telegram
        if action == "messages":
            message_id = await telegram.user_says(
                chat_id,
                str(body["text"]),
                user_id=body.get("user_id"),
                first_name=str(body.get("first_name", "Ada")),
                reply_to=body.get("reply_to_message_id"),
                quote=str(body.get("quote") or ""),
                quote_position=body.get("quote_position"),
                thread=int(body.get("thread", 0)),
            )
            return {"message_id": message_id}
        if action == "press":
            callback_id = await telegram.press(
                chat_id, int(body["message_id"]), str(body["data"]), user_id=body.get("user_id")
            )
            return {"callback_query_id": callback_id}
        if action == "edit":
            await telegram.user_edits(chat_id, int(body["message_id"]), str(body["text"]))
            return {"ok": True}
        if action == "block":
            await telegram.block(chat_id, bool(body.get("blocked", True)))
            return {"ok": True}
        if action == "stop_draft":
            await telegram.stop_draft(chat_id)
            return {"ok": True}
        return None
