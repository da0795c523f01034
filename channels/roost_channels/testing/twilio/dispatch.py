"""Routes HTTP requests to Twilio's resources: api, messaging and content on one address."""

import base64
import binascii
import re
from typing import Any

from aiohttp import web
from multidict import MultiDict

from roost_channels.testing.dispatch import (
    UNKNOWN_CALL,
    Dispatcher,
    HttpResult,
    Route,
    read_json,
    resolve,
)
from roost_channels.testing.loopback import Call
from roost_channels.testing.twilio import content, media, messages
from roost_channels.testing.twilio.errors import TwilioError, not_found
from roost_channels.testing.twilio.state import API_VERSION, TextMessage, TwilioCore
from roost_channels.testing.whatsapp.statuses import StatusEngine

_ACCOUNT = rf"/{API_VERSION}/Accounts/(?P<account>AC[0-9a-zA-Z]+)"
_SID = r"(?P<sid>[A-Z]{2}[0-9a-zA-Z]+)"
_MEDIA = _ACCOUNT + rf"/Messages/{_SID}/Media/(?P<media>ME\w+?)(?P<json>\.json)?"

Form = MultiDict[str]
_ROUTES: list[Route] = [
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


class TwilioDispatcher(Dispatcher[TwilioCore]):
    """Every request is a named call: `messages.create`, `messages.list`, `typing` and so on."""

    garbage = '{"sid": '

    def __init__(self, core: TwilioCore, statuses: StatusEngine[TextMessage]) -> None:
        super().__init__(core)
        self._statuses = statuses

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; unknown paths get Twilio's 404."""
        if request.path.startswith("/cdn/"):
            return media.serve_file(self._core, request)
        name, groups = resolve(_ROUTES, request)
        form: Form = MultiDict()
        body = await read_json(request)
        if request.content_type != "application/json" and request.can_read_body:
            for key, value in (await request.post()).items():
                form.add(key, str(value))
        query = {key: value for key, value in request.query.items()}
        parameters = {key: form.getall(key) for key in form} or body or query
        call = Call(name, _flat(parameters) | groups, self._core.now())
        return await self.perform(
            request, call, lambda: self._run(request, name, groups, form, body, query)
        )

    def error_for(self, kind: str, wait_s: int) -> TwilioError:
        """Twilio's error for a fault."""
        status, code = {
            "http_500": (500, 20500),
            "rate_limit": (429, 20429),
            "unauthorized": (401, 20003),
        }[kind]
        return TwilioError(status, code)

    async def _run(
        self,
        request: web.Request,
        name: str,
        groups: dict[str, str],
        form: Form,
        body: Any,
        query: dict[str, str],
    ) -> HttpResult:
        core = self._core
        self._authenticate(request.headers.get("Authorization", ""))
        if name == UNKNOWN_CALL or groups.get("account") not in (None, core.settings.account_sid):
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
                del core.messages[messages.find_message(core, sid).id]
                return 204, None
            case "media.list":
                return 200, media.list_media(core, sid)
            case "media.fetch":
                file = media.find_media(core, groups, request.path)
                if "json" in groups:
                    return 200, media.media_json(core, file)
                return 307, media.redirect_to_file(core, file)
            case "media.delete":
                media.delete_media(core, groups, request.path)
                return 204, None
            case "typing":
                return self._typing(form.get("channel", ""), form.get("messageId", ""), "whatsapp")
            case "typing.v3":
                fields = body if isinstance(body, dict) else {}
                channel, sid = str(fields.get("channel", "")), str(fields.get("messageId", ""))
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
            credentials = base64.b64decode(header.removeprefix("Basic "), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            credentials = ""
        user, _, password = credentials.partition(":")
        known = {settings.account_sid: settings.auth_token, **settings.api_keys}
        if not header.startswith("Basic ") or known.get(user) != password or not password:
            raise TwilioError(401, 20003)

    def _typing(self, channel: str, sid: str, expected: str) -> HttpResult:
        """Show typing to the user and mark the inbound message as read."""
        message = self._core.messages.get(sid)
        if channel != expected:
            raise TwilioError(400, 20001)
        if message is None or not message.inbound:
            raise not_found(f"/Messages/{sid}")
        self._core.mark_read(message, typing=True)
        return 200, {"success": True}


def _flat(parameters: Any) -> dict[str, Any]:
    """The values without their lists, except where a name repeats."""
    if not isinstance(parameters, dict):
        return {}
    return {
        key: value[0] if isinstance(value, list) and len(value) == 1 else value
        for key, value in parameters.items()
    }
