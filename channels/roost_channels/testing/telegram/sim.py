"""The /sim API of FakeTelegram: a sandbox page and outside tests play the users with it."""

import base64
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from roost_channels.testing.file_response import file_response
from roost_channels.testing.sim import shared_route, sim_response
from roost_channels.testing.telegram.state.records import ChatType
from roost_channels.testing.telegram.users.phones import TelegramPhones


class TelegramSim:
    """JSON in, JSON out; a bad request gets 400 with a text."""

    def __init__(self, telegram: TelegramPhones) -> None:
        self._telegram = telegram

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request under /sim."""
        parts = request.path.strip("/").split("/")[1:]
        if request.method == "GET" and parts[:1] == ["files"]:
            return self._file(parts[-1])
        return await sim_response(request, parts, self._route)

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
                kind: ChatType = "group" if body.get("type") == "group" else "supergroup"
                title = str(body.get("title", "Group"))
                chat = telegram.add_group(int(body["id"]), title, type=kind, topics=topics)
                return chat.to_json()
            case ("GET", "chats", chat_id):
                return telegram.screen_json(int(chat_id))
            case ("POST", "chats", chat_id, action):
                return await self._user_action(int(chat_id), action, body)
            case ("GET", "complaints"):
                return {"complaints": telegram.complaints}
        return await shared_route(telegram, verb, parts, body, query)

    async def _user_action(
        self, chat_id: int, action: str, body: dict[str, Any]
    ) -> dict[str, Any] | None:
        """What a user does in a chat; `user_id` in the body names the user in a group."""
        telegram, user_id = self._telegram, body.get("user_id")
        match action:
            case "messages":
                return {"message_id": await self._say(chat_id, body)}
            case "album":
                items = [(str(one["kind"]), _bytes(one)) for one in body["items"]]
                caption, thread = str(body.get("text", "")), int(body.get("thread", 0))
                return {
                    "message_ids": await telegram.user_sends_album(
                        chat_id, items, caption=caption, user_id=user_id, thread=thread
                    )
                }
            case "press":
                message_id, data = int(body["message_id"]), str(body["data"])
                callback_id = await telegram.press(chat_id, message_id, data, user_id=user_id)
                return {"callback_query_id": callback_id}
            case "topics":
                name = str(body["name"])
                return {"thread": await telegram.user_opens_topic(chat_id, name, user_id=user_id)}
            case "edit":
                await telegram.user_edits(chat_id, int(body["message_id"]), str(body["text"]))
            case "react":
                emoji = [str(one) for one in body.get("emoji") or ()]
                message_id = int(body["message_id"])
                await telegram.user_reacts(chat_id, message_id, *emoji, user_id=user_id)
            case "delete":
                telegram.user_deletes(chat_id, int(body["message_id"]))
            case "block":
                await telegram.block(chat_id, bool(body.get("blocked", True)))
            case "kick":
                telegram.kick(chat_id, bool(body.get("kicked", True)))
            case "migrate":
                await telegram.migrate(chat_id, int(body["to"]))
            case "stop_draft":
                await telegram.stop_draft(chat_id)
            case _:
                return None
        return {"ok": True}

    async def _say(self, chat_id: int, body: dict[str, Any]) -> int:
        """Send a text, or the file in `media`: kind, base64 data, and more of `user_sends`.

        `fields` are fields of the message as they are, such as a checklist.
        """
        telegram = self._telegram
        shared: dict[str, Any] = {
            "user_id": body.get("user_id"),
            "reply_to": body.get("reply_to_message_id"),
            "quote": str(body.get("quote") or ""),
            "thread": int(body.get("thread", 0)),
        }
        if media := body.get("media"):
            return await telegram.user_sends(
                chat_id,
                str(media["kind"]),
                _bytes(media),
                caption=str(body.get("text", "")),
                name=str(media.get("name", "")),
                content_type=str(media.get("content_type", "")),
                size=media.get("size"),
                duration=int(media.get("duration", 0)),
                **shared,
            )
        return await telegram.user_says(
            chat_id,
            str(body.get("text", "")),
            first_name=str(body.get("first_name", "Ada")),
            username=str(body.get("username", "")),
            quote_position=body.get("quote_position"),
            forwarded_from=str(body.get("forwarded_from", "")),
            media=body.get("fields"),
            **shared,
        )

    def _file(self, file_id: str) -> web.Response:
        file = self._telegram.core.world.files.get(file_id)
        if file is None:
            return web.json_response({"error": "no such file"}, status=404)
        return file_response(file.data, file.content_type)


def _bytes(item: Mapping[str, Any]) -> bytes:
    return base64.b64decode(str(item.get("data", "")), validate=True)
