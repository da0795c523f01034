"""Routes HTTP requests to the Graph API's calls: messages, the number, and media."""

import hashlib
import re
from typing import Any

from aiohttp import web
from aiohttp.web_request import FileField

from roost_channels.testing.cloud.errors import GraphError
from roost_channels.testing.cloud.messages import handle_message_request
from roost_channels.testing.cloud.state import CloudCore, CloudMedia
from roost_channels.testing.cloud.statuses import CloudStatuses
from roost_channels.testing.dispatch import (
    Dispatcher,
    HttpResult,
    Route,
    read_json,
    resolve,
)
from roost_channels.testing.file_response import file_response
from roost_channels.testing.loopback import Call

_ROUTES: tuple[Route, ...] = (
    ("POST", re.compile(r"/v\d+\.\d+/(?P<id>\d+)/messages"), "messages"),
    ("POST", re.compile(r"/v\d+\.\d+/(?P<id>\d+)/media"), "media.upload"),
    ("GET", re.compile(r"/lookaside/(?P<id>\d+)"), "media.download"),
    ("GET", re.compile(r"/v\d+\.\d+/(?P<id>\d+)"), "node"),
    ("DELETE", re.compile(r"/v\d+\.\d+/(?P<id>\d+)"), "media.delete"),
)


class CloudDispatcher(Dispatcher[CloudCore]):
    """Every request is a named call: `messages`, `number`, `media.upload` and so on."""

    garbage = '{"messages": ['

    def __init__(self, core: CloudCore, statuses: CloudStatuses) -> None:
        super().__init__(core)
        self._statuses = statuses

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; unknown paths get the Graph API's error."""
        name, node = self._resolve(request)
        body = await read_json(request)
        call = Call(name, body if isinstance(body, dict) else {"id": node}, self._core.now())
        return await self.perform(request, call, lambda: self._answer(request, name, node, body))

    def _resolve(self, request: web.Request) -> tuple[str, str]:
        """The call's name and the id in its path, the node."""
        name, groups = resolve(_ROUTES, request)
        node = groups.get("id", "")
        if name == "node":
            is_number = node == self._core.settings.phone_number_id
            return ("number" if is_number else "media.info"), node
        return name, node

    def error_for(self, kind: str, wait_s: int) -> GraphError:
        """Meta's error for a fault."""
        return GraphError({"http_500": 131000, "rate_limit": 130429, "unauthorized": 190}[kind])

    async def _answer(self, request: web.Request, name: str, node: str, body: Any) -> HttpResult:
        return 200, await self._run(request, name, node, body)

    async def _run(self, request: web.Request, name: str, node: str, body: Any) -> Any:
        core = self._core
        if request.headers.get("Authorization") != f"Bearer {core.settings.access_token}":
            raise GraphError(190)
        if name in ("messages", "media.upload") and node != core.settings.phone_number_id:
            raise GraphError(33, f"Object with ID {node} does not exist")
        match name:
            case "messages":
                response, message = handle_message_request(core, body)
                if message is not None:
                    self._statuses.accept(message)
                return response
            case "number":
                return {"id": node, "verified_name": "Roost", **core.metadata()}
            case "media.upload":
                return await self._upload(request)
            case "media.info":
                return self._info(self._media(node))
            case "media.download":
                media = self._media(node)
                return file_response(media.data, media.content_type)
            case "media.delete":
                del core.media[self._media(node).id]
                return {"success": True}
        raise GraphError(33, "Unknown path")

    async def _upload(self, request: web.Request) -> dict[str, Any]:
        form = await request.post()
        file = form.get("file")
        if form.get("messaging_product") != "whatsapp" or not isinstance(file, FileField):
            raise GraphError(100, "messaging_product and file are needed")
        mime = str(form.get("type") or file.content_type)
        return {"id": self._core.add_file(file.file.read(), mime, file.filename).id}

    def _media(self, node: str) -> CloudMedia:
        media = self._core.media.get(node)
        if media is None:
            raise GraphError(33, f"Object with ID {node} does not exist")
        return media

    def _info(self, media: CloudMedia) -> dict[str, Any]:
        return {
            "messaging_product": "whatsapp",
            "url": f"{self._core.base_url}/lookaside/{media.id}",
            "mime_type": media.content_type,
            "sha256": hashlib.sha256(media.data).hexdigest(),
            "file_size": str(len(media.data)),
            "id": media.id,
        }
