"""Every route of the console in one table, each with the least role it needs."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from roost_platform.console.assets import static_file
from roost_platform.console.console import Console, Visit
from roost_platform.console.dependencies import ConsoleDeps
from roost_platform.console.endpoint import Endpoint, Handler
from roost_platform.console.pages import (
    administration,
    channels,
    chat,
    deliveries,
    files,
    inference,
    overview,
    patterns,
    people,
    sandbox,
    session,
    sessions,
    sign_in,
)
from roost_platform.identity.roles import Role


@dataclass(frozen=True, slots=True)
class Declared:
    """One row of the table."""

    method: str
    path: str
    role: Role
    handler: Handler


async def serve_static(visit: Visit) -> Response:
    return await static_file(visit.request)


TABLE: Sequence[Declared] = (
    Declared("GET", "/static/{digest}/{path:path}", Role.public, serve_static),
    Declared("GET", "/login", Role.public, sign_in.sign_in_page),
    Declared("POST", "/login", Role.public, sign_in.sign_in),
    Declared("GET", "/setup", Role.public, sign_in.setup_page),
    Declared("POST", "/setup", Role.public, sign_in.set_up),
    Declared("POST", "/theme", Role.public, sign_in.set_theme),
    Declared("POST", "/logout", Role.viewer, sign_in.sign_out),
    Declared("GET", "/account", Role.viewer, sign_in.account),
    Declared("POST", "/account/password", Role.viewer, sign_in.change_password),
    Declared("POST", "/account/logins/{key}/end", Role.viewer, sign_in.end_login),
    Declared("GET", "/", Role.viewer, overview.page),
    Declared("GET", "/overview.json", Role.viewer, overview.json_twin),
    Declared("GET", "/overview/events", Role.viewer, overview.events),
    Declared("GET", "/sessions", Role.viewer, sessions.page),
    Declared("GET", "/sessions.json", Role.viewer, sessions.json_twin),
    Declared("GET", "/sessions/events", Role.viewer, sessions.events),
    Declared("GET", "/sessions/{id}.json", Role.viewer, session.json_twin),
    Declared("GET", "/sessions/{id}", Role.viewer, session.page),
    Declared("GET", "/sessions/{id}/events", Role.viewer, session.events),
    Declared("GET", "/sessions/{id}/files/{file}", Role.viewer, files.download),
    Declared("POST", "/sessions/{id}/stop", Role.operator, session.stop),
    Declared("POST", "/sessions/{id}/queue", Role.operator, session.queue),
    Declared("POST", "/sessions/{id}/progress", Role.operator, session.progress),
    Declared("POST", "/sessions/{id}/reply", Role.operator, session.reply),
    Declared("GET", "/deliveries", Role.viewer, deliveries.page),
    Declared("GET", "/deliveries.json", Role.viewer, deliveries.json_twin),
    Declared("GET", "/deliveries/events", Role.viewer, deliveries.events),
    Declared("POST", "/deliveries/redrive", Role.operator, deliveries.redrive_failed),
    Declared("GET", "/deliveries/{id}.json", Role.viewer, deliveries.one_json),
    Declared("GET", "/deliveries/{id}", Role.viewer, deliveries.one_page),
    Declared("GET", "/deliveries/{id}/events", Role.viewer, deliveries.one_events),
    Declared("POST", "/deliveries/{id}/confirm", Role.operator, deliveries.confirm_one),
    Declared("POST", "/deliveries/{id}/redrive", Role.operator, deliveries.redrive_one),
    Declared("GET", "/channels", Role.viewer, channels.page),
    Declared("GET", "/channels/events", Role.viewer, channels.events),
    Declared("GET", "/people", Role.viewer, people.page),
    Declared("GET", "/people/events", Role.viewer, people.events),
    Declared("POST", "/people/{id}/approve", Role.operator, people.let_in),
    Declared("POST", "/people/{id}/block", Role.operator, people.shut_out),
    Declared("GET", "/inference", Role.viewer, inference.page),
    Declared("GET", "/inference.json", Role.viewer, inference.json_twin),
    Declared("GET", "/inference/events", Role.viewer, inference.events),
    Declared("GET", "/chat", Role.operator, chat.start),
    Declared("GET", "/chat/{name}", Role.operator, chat.page),
    Declared("GET", "/chat/{name}/events", Role.operator, chat.events),
    Declared("POST", "/chat/{name}", Role.operator, chat.say),
    Declared("GET", "/sandbox", Role.operator, sandbox.page),
    Declared("GET", "/sandbox/events", Role.operator, sandbox.events),
    Declared("POST", "/sandbox/{phone}", Role.operator, sandbox.says),
    Declared("POST", "/sandbox/{phone}/press", Role.operator, sandbox.presses),
    Declared("POST", "/sandbox/{phone}/react", Role.operator, sandbox.reacts),
    Declared("GET", "/operators", Role.admin, administration.operators),
    Declared("POST", "/operators", Role.admin, administration.add_operator),
    Declared("POST", "/operators/{id}", Role.admin, administration.change_operator),
    Declared("GET", "/tokens", Role.admin, administration.tokens),
    Declared("POST", "/tokens", Role.admin, administration.add_token),
    Declared("POST", "/tokens/{key}/revoke", Role.admin, administration.revoke_token),
    Declared("GET", "/audit", Role.admin, administration.audit_log),
    Declared("GET", "/patterns", Role.viewer, patterns.page),
)


def build_console(deps: ConsoleDeps) -> tuple[Console, list[BaseRoute]]:
    """The console and its routes; `close` the console at the end."""
    console = Console(deps)
    return console, [
        Route(row.path, Endpoint(console, row.role, row.handler).serve, methods=[row.method])
        for row in TABLE
    ]


def console_routes(deps: ConsoleDeps) -> list[BaseRoute]:
    """Routes to put into the web app, beside its API and webhooks."""
    return build_console(deps)[1]
