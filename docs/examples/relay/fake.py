"""A Relay server for the sandbox and for tests: its API, its webhooks, and people's phones."""

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Self

import httpx2
from aiohttp import web

from relay.inbound import SIGNATURE, signature
from roost_channels.testing.loopback import LoopbackServer, cut_connection

TRIES_MAX = 20  # of one event, until our webhook takes it
RETRY_S = 0.25


class FakeRelay:
    """`async with FakeRelay(...) as relay:` serves one account.

    `says` is a person who writes, `shown` what that person sees. `lose_answers`: so many sends are
    done and then answered by hanging up.
    """

    def __init__(
        self, name: str, api_key: str, webhook_secret: str, *, webhook_url: str = "", port: int = 0
    ) -> None:
        self.name = name
        self.webhook_url = webhook_url
        self.lose_answers = 0
        self._api_key = api_key
        self._secret = webhook_secret.encode()
        self._messages: list[dict[str, Any]] = []
        # A restarted server goes on with ids that a database may not remember.
        self._ids = count(int(time.time()))
        self._posting: set[asyncio.Task[None]] = set()
        self._server = LoopbackServer(self._handle, port)

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return self._server.base_url

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._posting:
            task.cancel()
        await asyncio.gather(*self._posting, return_exceptions=True)
        await self._server.stop()

    def says(
        self, person: str, text: str, *, chat: str = "", thread: str = "", reply_to: str = ""
    ) -> str:
        """A person writes to us, alone or in a group's chat; returns the message's id."""
        at, chat_id = time.time(), chat or person
        fields = {"chat": chat_id, "thread": thread, "text": text, "reply_to": reply_to}
        message = {"id": str(next(self._ids)), "from": person, "at": at, **fields}
        self._messages.append(message)
        sender = {"id": person, "name": person.capitalize()}
        event = {**message, "from": sender, "group": bool(chat), "to_us": f"@{self.name}" in text}
        task = asyncio.create_task(self._post(event))
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)
        return str(message["id"])

    def shown(self, chat: str) -> Sequence[Mapping[str, Any]]:
        """The messages of a chat, oldest first."""
        return [message for message in self._messages if message["chat"] == chat]

    async def _post(self, event: Mapping[str, Any]) -> None:
        """Until our webhook takes the event, or often enough."""
        body = json.dumps(event).encode()
        headers = {SIGNATURE: signature(self._secret, body)}
        async with httpx2.AsyncClient(trust_env=False) as http:
            for _ in range(TRIES_MAX):
                with contextlib.suppress(httpx2.HTTPError):
                    answer = await http.post(self.webhook_url, content=body, headers=headers)
                    if answer.is_success:
                        return
                await asyncio.sleep(RETRY_S)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        match (request.method, *parts):
            case ("POST", "v1", "messages"):
                return await self._take(request)
            case ("GET", "v1", "messages") if self._is_ours(request):
                key = request.query.get("key", "")
                found = [message for message in self._messages if message.get("key") == key]
                return web.json_response({"messages": found})
            case ("GET", "sim", "chats", person):
                return web.json_response({"messages": self.shown(person)})
            case ("POST", "sim", "chats", person, "messages"):
                typed = await request.json()
                return web.json_response({"id": self.says(person, **typed)})
        return web.json_response({"error": "no such thing"}, status=404)

    async def _take(self, request: web.Request) -> web.Response:
        if not self._is_ours(request):
            return web.json_response({"error": "wrong key"}, status=401)
        sent = await request.json()
        if not self.shown(sent["chat"]):
            return web.json_response({"error": "no such chat"}, status=404)
        message = {"id": str(next(self._ids)), "from": self.name, "at": time.time(), **sent}
        self._messages.append(message)
        if self.lose_answers:
            self.lose_answers -= 1
            return cut_connection(request)
        return web.json_response({"id": message["id"]}, status=201)

    def _is_ours(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self._api_key}"
