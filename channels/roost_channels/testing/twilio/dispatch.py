"""From HTTP to a resource and back: api, messaging and content paths on one address."""

import base64
import binascii
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from multidict import CIMultiDict, MultiDict

from roost_channels.testing.faults import CALL_FAULTS, Fault, whole_seconds
from roost_channels.testing.loopback import BAD_GATEWAY_HTML, Call, cut_body, cut_connection
from roost_channels.testing.twilio import content, media, messages
from roost_channels.testing.twilio.errors import TwilioError, not_found
from roost_channels.testing.twilio.state import API_VERSION, Core
from roost_channels.testing.twilio.statuses import StatusEngine

TYPING_S = 25.0
_ACCOUNT = rf"/{API_VERSION}/Accounts/(?P<account>AC[0-9a-zA-Z]+)"
_SID = r"(?P<sid>[A-Z]{2}[0-9a-zA-Z]+)"
_MEDIA = _ACCOUNT + rf"/Messages/{_SID}/Media/(?P<media>ME\w+?)(?P<json>\.json)?"

Form = MultiDict[str]
Answer = tuple[int, Any]


class Dispatcher:
    """Every request is a named call: `messages.create`, `messages.list`, `typing` and so on."""

    def __init__(self, core: Core, statuses: StatusEngine) -> None:
        self._core = core
        self._statuses = statuses
        self._routes: list[tuple[str, re.Pattern[str], str]] = [
            ("POST", re.compile(_ACCOUNT + r"/Messages\.json"), "messages.create"),
            ("GET", re.compile(_ACCOUNT + r"/Messages\.json"), "messages.list"),
            ("GET", re.compile(_ACCOUNT + rf"/Messages/{_SID}\.json"), "messages.fetch"),
            ("POST", re.compile(_ACCOUNT + rf"/Messages/{_SID}\.json"), "messages.update"),
            ("DELETE", re.compile(_ACCOUNT + rf"/Messages/{_SID}\.json"), "messages.delete"),
            ("GET", re.compile(_ACCOUNT + rf"/Messages/{_SID}/Media\.json"), "media.list"),
            ("GET", re.compile(_MEDIA), "media.fetch"),
            ("DELETE", re.compile(_MEDIA), "media.delete"),
            ("POST", re.compile(r"/v2/Indicators/Typing\.json"), "typing"),
            ("POST", re.compile(r"/v3/Indicators/Typing\.json"), "typing.v3"),
            ("POST", re.compile(r"/v1/Content"), "content.create"),
            ("GET", re.compile(r"/v1/Content"), "content.list"),
            ("GET", re.compile(rf"/v1/Content/{_SID}"), "content.fetch"),
            ("DELETE", re.compile(rf"/v1/Content/{_SID}"), "content.delete"),
            ("GET", re.compile(r"/v1/ContentAndApprovals"), "content.approvals"),
            ("GET", re.compile(rf"/v1/Content/{_SID}/ApprovalRequests"), "content.approval"),
            (
                "POST",
                re.compile(rf"/v1/Content/{_SID}/ApprovalRequests/whatsapp"),
                "content.approve",
            ),
        ]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/cdn/"):
            return media.serve_file(self._core, request)
        name, groups = self._resolve(request)
        form: Form = MultiDict()
        body: Any = None
        if request.content_type == "application/json" and request.can_read_body:
            raw = await request.read()
            try:
                body = json.loads(raw)
            except ValueError:
                body = None
        elif request.can_read_body:
            for key, value in (await request.post()).items():
                form.add(key, str(value))
        query = {key: value for key, value in request.query.items()}
        shown = {key: form.getall(key) for key in form} or body or query
        call = Call(name, _flat(shown) | groups, self._core.now())
        self._core.log.calls.append(call)
        fault = self._core.faults.take(name, CALL_FAULTS)
        try:
            return await self._perform(
                request, call, fault, lambda: self._run(request, name, groups, form, body, query)
            )
        finally:
            call.finished_at = self._core.now()
            self._core.changed()

    def _resolve(self, request: web.Request) -> tuple[str, dict[str, str]]:
        for verb, pattern, name in self._routes:
            found = pattern.fullmatch(request.path)
            if found and verb == request.method:
                return name, {k: v for k, v in found.groupdict().items() if v}
        return "unknown", {}

    async def _perform(
        self,
        request: web.Request,
        call: Call,
        fault: Fault | None,
        work: Callable[[], Awaitable[Answer]],
    ) -> web.StreamResponse:
        call.fault = kind = fault.kind if fault else ""
        call.early = self._core.now() < self._core.waits.get(call.method, 0.0)
        if kind == "drop_before":
            return cut_connection(request)
        if fault is not None and kind == "delay":
            await self._core.clock.sleep(fault.value)
        if kind == "http_502":
            call.status, call.response = 502, BAD_GATEWAY_HTML
            return web.Response(status=502, text=BAD_GATEWAY_HTML, content_type="text/html")
        headers: dict[str, str] = {}
        if fault is not None and kind in ("http_500", "rate_limit", "unauthorized"):
            error = {
                "http_500": TwilioError(500, 20500),
                "rate_limit": TwilioError(429, 20429),
                "unauthorized": TwilioError(401, 20003),
            }[kind]
            if kind == "rate_limit" and fault.value > 0:
                wait_s = whole_seconds(fault.value)
                headers["Retry-After"] = str(wait_s)
                self._core.waits[call.method] = self._core.now() + wait_s
            call.status, call.response = error.status, error.body()
            return _answer(call.status, call.response, headers)
        try:
            call.status, call.response = await work()
        except TwilioError as error:
            call.status, call.response = error.status, error.body()
        if kind == "drop_after":
            return cut_connection(request)
        if kind == "garbage":
            return web.Response(text='{"sid": ', content_type="application/json")
        if isinstance(call.response, web.Response):
            answer, call.response = call.response, None
        else:
            answer = _answer(call.status, call.response, headers)
        return await cut_body(request, answer) if kind == "cut_body" else answer

    async def _run(
        self,
        request: web.Request,
        name: str,
        groups: dict[str, str],
        form: Form,
        body: Any,
        query: dict[str, str],
    ) -> Answer:
        core = self._core
        self._authenticate(request.headers.get("Authorization", ""))
        if name == "unknown" or groups.get("account") not in (None, core.settings.account_sid):
            raise not_found(request.path)
        sid = groups.get("sid", "")
        match name:
            case "messages.create":
                message = messages.create_message(core, form)
                created = core.message_json(message)
                self._statuses.accept(message)
                return 201, created
            case "messages.list":
                return 200, messages.list_messages(core, query)
            case "messages.fetch":
                return 200, core.message_json(messages.find_message(core, sid))
            case "messages.update":
                return 200, core.message_json(messages.update_message(core, sid, form))
            case "messages.delete":
                del core.messages[messages.find_message(core, sid).sid]
                return 204, None
            case "media.list":
                return 200, media.list_media(core, sid)
            case "media.fetch":
                found = media.find_media(core, groups, request.path)
                if "json" in groups:
                    return 200, media.media_json(core, found)
                return 307, media.redirect_to_file(core, found)
            case "media.delete":
                media.delete_media(core, groups, request.path)
                return 204, None
            case "typing":
                return self._typing(form.get("channel", ""), form.get("messageId", ""), "whatsapp")
            case "typing.v3":
                given = body if isinstance(body, dict) else {}
                channel, sid = str(given.get("channel", "")), str(given.get("messageId", ""))
                return self._typing(channel, sid, "WHATSAPP")
            case "content.create":
                return 201, content.create_content(core, body)
            case "content.list":
                return 200, content.list_contents(core, query)
            case "content.approvals":
                return 200, content.list_contents(core, query, "ContentAndApprovals")
            case "content.approve":
                return 201, content.request_approval(core, sid, body)
            case "content.approval":
                return 200, content.approval_json(core, sid)
            case "content.fetch":
                return 200, content.content_json(core, sid)
            case _:
                content.delete_content(core, sid)
                return 204, None

    def _authenticate(self, header: str) -> None:
        settings = self._core.settings
        try:
            given = base64.b64decode(header.removeprefix("Basic "), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            given = ""
        user, _, password = given.partition(":")
        known = {settings.account_sid: settings.auth_token, **settings.api_keys}
        if not header.startswith("Basic ") or known.get(user) != password or not password:
            raise TwilioError(401, 20003)

    def _typing(self, channel: str, sid: str, expected: str) -> Answer:
        """Shows typing for 25 s and marks the inbound message as read."""
        message = self._core.messages.get(sid)
        if channel != expected:
            raise TwilioError(400, 20001)
        if message is None or not message.inbound:
            raise not_found(f"/Messages/{sid}")
        message.read_by_bot = True
        self._core.person(message.from_).typing_until = self._core.now() + TYPING_S
        self._core.changed()
        return 200, {"success": True}


def _flat(shown: Any) -> dict[str, Any]:
    """One value where there is one; lists where a name repeats."""
    if not isinstance(shown, dict):
        return {}
    return {
        key: value[0] if isinstance(value, list) and len(value) == 1 else value
        for key, value in shown.items()
    }


def _answer(status: int, body: Any, headers: dict[str, str]) -> web.Response:
    merged = CIMultiDict(headers)
    if body is None:
        return web.Response(status=status, headers=merged)
    return web.Response(
        status=status, text=json.dumps(body), content_type="application/json", headers=merged
    )
