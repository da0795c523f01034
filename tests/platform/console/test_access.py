"""Who gets in, who stays out, and what each may do."""

import time
from typing import Any

import httpx2
import pytest
from sqlalchemy import update

from roost_platform.console.endpoint import Endpoint
from roost_platform.console.routes import TABLE
from roost_platform.db import models
from roost_platform.db.stores import Stores
from roost_platform.identity.accounts import SETUP_LINK_S
from roost_platform.identity.login_failures import LOGIN_FAILURES_MAX, LOGIN_WINDOW_S
from roost_platform.identity.logins import (
    SESSION_ABSOLUTE_S,
    SESSION_IDLE_S,
    SESSIONS_PER_OPERATOR_MAX,
)
from roost_platform.identity.roles import Principal, Role
from roost_platform.testing.console import PASSWORD, ConsoleServer, seed

COOKIE = "roost_session"


class Clock:
    """Real time plus what a test adds."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def console(sqlite_url: str, clock: Clock) -> Any:
    with ConsoleServer(sqlite_url, clock=clock).serving() as server:
        yield server


async def lose_track(stores: Stores, outbox_id: str) -> None:
    """Nobody knows what became of the message."""
    async with stores.database.write() as session:
        await session.execute(
            update(models.Part)
            .where(models.Part.outbox_id == outbox_id)
            .values(state="ambiguous", error="timed out")
        )


def sign_in(http: httpx2.Client, name: str, password: str = PASSWORD) -> httpx2.Response:
    return http.post("/login", data={"name": name, "password": password})


def as_role(console: ConsoleServer, http: httpx2.Client, role: str) -> None:
    cookie = console.sign_in_cookie(f"The {role}", role)
    http.cookies.set(cookie["name"], cookie["value"])


def test_setup_link_makes_one_admin_once(console: ConsoleServer, http: httpx2.Client) -> None:
    token = console.run(console.accounts.new_setup_token())
    form = {"token": token, "name": "Grace", "password": PASSWORD}
    made = http.post("/setup", data=form)
    assert (made.status_code, made.headers["location"]) == (303, "/")
    assert http.get("/").status_code == 200
    again = http.post("/setup", data={**form, "name": "Mallory"})
    assert again.status_code == 403
    assert http.get("/setup").headers["location"] == "/login"
    assert [o.name for o in console.run(console.accounts.operators())] == ["Grace"]


def test_setup_link_ends_after_half_an_hour_and_refuses_short_passwords(
    console: ConsoleServer, http: httpx2.Client, clock: Clock
) -> None:
    token = console.run(console.accounts.new_setup_token())
    short = http.post("/setup", data={"token": token, "name": "Grace", "password": "short"})
    assert short.status_code == 422
    assert "12 characters" in short.text
    clock.ahead_s = SETUP_LINK_S + 1
    late = http.post("/setup", data={"token": token, "name": "Grace", "password": PASSWORD})
    assert late.status_code == 403


def test_s14_sign_in_gives_a_rotated_http_only_cookie(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    console.sign_in_cookie("Grace", "admin")
    first = sign_in(http, "Grace")
    assert first.status_code == 303
    said = first.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=lax" in said
    old = http.cookies[COOKIE]
    sign_in(http, "Grace")
    assert http.cookies[COOKIE] != old
    stale = httpx2.Client(base_url=console.url, cookies={COOKIE: old})
    with stale:
        assert (
            stale.get("/", headers={"accept": "text/html"}).headers["location"] == "/login?next=/"
        )


def test_s14_https_cookies_are_host_bound_and_secure(sqlite_url: str) -> None:
    options = {"public_base_url": "https://roost.example.org"}
    with ConsoleServer(sqlite_url, options=options).serving() as server:
        cookie = server.sign_in_cookie("Grace", "admin")
        assert cookie["name"] == "__Host-roost"
        with httpx2.Client(
            base_url=server.url, headers={"sec-fetch-site": "same-origin"}
        ) as client:
            said = sign_in(client, "Grace").headers["set-cookie"].lower()
    assert said.startswith("__host-roost=")
    assert "secure" in said
    assert "path=/" in said
    assert "domain" not in said


def test_wrong_password_and_unknown_name_say_the_same(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    console.sign_in_cookie("Grace", "admin")
    wrong, unknown = sign_in(http, "Grace", "not it at all"), sign_in(http, "Nobody", "not it")
    assert wrong.status_code == unknown.status_code == 401
    message = "The name or the password is not right."
    assert message in wrong.text
    assert message in unknown.text


def test_guessing_is_slowed_even_for_the_right_password(
    console: ConsoleServer, http: httpx2.Client, clock: Clock
) -> None:
    console.sign_in_cookie("Grace", "admin")
    for _ in range(LOGIN_FAILURES_MAX):
        assert sign_in(http, "Grace", "wrong guess here").status_code == 401
    held = sign_in(http, "Grace")
    assert held.status_code == 429
    assert int(held.headers["retry-after"]) > 60
    assert sign_in(http, "Someone else", "wrong").status_code == 401
    clock.ahead_s = LOGIN_WINDOW_S + 1
    assert sign_in(http, "Grace").status_code == 303


def test_sessions_end_when_idle_and_after_a_week(
    console: ConsoleServer, http: httpx2.Client, clock: Clock
) -> None:
    as_role(console, http, "admin")
    clock.ahead_s = SESSION_IDLE_S - 60
    assert http.get("/account").status_code == 200
    clock.ahead_s += SESSION_IDLE_S + 1
    assert http.get("/account").status_code == 303
    sign_in(http, "The admin")
    begun = clock.ahead_s
    while clock.ahead_s < begun + SESSION_ABSOLUTE_S - SESSION_IDLE_S:
        clock.ahead_s += SESSION_IDLE_S - 60
        assert http.get("/account").status_code == 200
    clock.ahead_s = begun + SESSION_ABSOLUTE_S + 1
    assert http.get("/account").status_code == 303


def test_sign_out_ends_the_session_on_the_server(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    as_role(console, http, "viewer")
    token = http.cookies[COOKIE]
    assert http.post("/logout").headers["location"] == "/login"
    http.cookies.set(COOKIE, token)
    assert http.get("/").status_code == 303


def test_an_operator_keeps_a_bounded_number_of_logins(console: ConsoleServer) -> None:
    console.sign_in_cookie("Grace", "admin")
    principal = console.run(console.accounts.operators())[0]
    who = Principal(principal.id, principal.name, Role.admin)
    for _ in range(SESSIONS_PER_OPERATOR_MAX + 3):
        console.run(console.logins.open(who, ip="", user_agent=""))
    rows = console.run(console.logins.list(who.id, None))
    assert len(rows) == SESSIONS_PER_OPERATOR_MAX


def test_s16_every_route_declares_a_role_and_holds_to_it(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    assert len(console.routes) == len(TABLE)
    for route in console.routes:
        endpoint = route.endpoint.__self__  # type: ignore[attr-defined]
        assert isinstance(endpoint, Endpoint)
        assert isinstance(endpoint.role, Role)
    public = {row.path for row in TABLE if row.role is Role.public}
    assert public == {"/static/{digest}/{path:path}", "/login", "/setup", "/theme"}
    for role in Role:
        if role is not Role.public:
            http.cookies.set(COOKIE, console.sign_in_cookie(f"The {role.name}", role.name)["value"])
        for row in TABLE:
            allowed = role >= row.role
            if allowed and (row.path.endswith("/events") or row.path == "/logout"):
                continue  # streams do not end by themselves; a sign-out would end the test's login
            status = http.request(
                row.method, filled(row.path), headers={"accept": "application/json"}
            ).status_code
            refused = status == (401 if role is Role.public else 403)
            wrong_setup_token = row.path == "/setup" and row.method == "POST"
            wrong_password = row.path == "/login" and row.method == "POST"
            if not (wrong_setup_token or wrong_password):
                assert refused is not allowed, (row.method, row.path, role.name, status)


def filled(path: str) -> str:
    """A path of the table with made-up parameters."""
    path = path.replace("{path:path}", "x.css")
    for name in ("id", "key", "name", "digest", "file"):
        path = path.replace(f"{{{name}}}", "none-such")
    return path


def test_viewers_see_sizes_instead_of_texts(console: ConsoleServer, http: httpx2.Client) -> None:
    ids = console.run(seed(console.stores, time.time()))
    as_role(console, http, "viewer")
    for path in (
        f"/sessions/{ids['ada']}",
        f"/sessions/{ids['ada']}.json",
        "/sessions",
        "/deliveries",
        f"/deliveries/{ids['failed']}",
        f"/deliveries/{ids['failed']}.json",
        "/",
    ):
        page = http.get(path)
        assert page.status_code == 200, path
        # Whole phrases: a bare number such as the call's result stands in ids and charts too.
        for secret in ("Tell me everything", ">391<", "23 is", "17 * 23", "booked", "museum"):
            assert secret not in page.text, (path, secret)


def test_reading_and_acting_leave_audit_rows(console: ConsoleServer, http: httpx2.Client) -> None:
    ids = console.run(seed(console.stores, time.time()))
    as_role(console, http, "operator")
    http.get(f"/sessions/{ids['ada']}")
    http.get(f"/sessions/{ids['ada']}.json")
    http.post(f"/sessions/{ids['ada']}/reply", data={"text": "I am here."})
    http.post(f"/sessions/{ids['ada']}/stop")
    http.post(f"/sessions/{ids['ada']}/queue", data={"mode": "collect"})
    assert http.post(f"/sessions/{ids['ada']}/queue", data={"mode": "chaos"}).status_code == 422
    assert http.get(f"/sessions/{ids['ada']}.json").json()["facts"]["queue"] == "collect"
    http.post(f"/people/{ids['eve']}/approve")
    http.post(f"/people/{ids['eve']}/block")
    http.post(f"/deliveries/{ids['failed']}/redrive")
    assert http.post(f"/deliveries/{ids['failed']}/confirm").status_code == 422
    console.run(lose_track(console.stores, ids["failed"]))
    listed = http.get("/deliveries.json?state=uncertain").json()
    assert ([row["id"] for row in listed["list"]["rows"]], listed["uncertain"]) == (
        [ids["failed"]],
        1,
    )
    assert "may already have arrived" in http.get(f"/deliveries/{ids['failed']}").text
    http.post(f"/deliveries/{ids['failed']}/confirm")
    assert http.get("/deliveries.json").json()["uncertain"] == 0
    done = [row.action for row in console.run(console.stores.audit.list())][::-1]
    assert done == [
        "transcript.read",
        "transcript.read",
        "conversation.reply",
        "conversation.stop",
        "conversation.queue",
        "transcript.read",  # the page again, which says why the other choice was refused
        "transcript.read",
        "person.approve",
        "person.block",
        "delivery.redrive",
        "delivery.confirm",
    ]
    assert console.run(console.stores.audit.verify()) is None
    assert console.doorbell.stops == [ids["ada"]]


def test_the_last_admin_stays_one_and_changes_end_logins(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    as_role(console, http, "admin")
    me = console.run(console.accounts.operators())[0]
    assert http.post(f"/operators/{me.id}", data={"role": "viewer"}).status_code == 422
    http.post("/operators", data={"name": "Ada", "password": PASSWORD, "role": "admin"})
    changed = http.post(f"/operators/{me.id}", data={"role": "viewer"})
    assert changed.headers["location"] == "/operators"
    assert http.get("/").status_code == 303


def test_disabled_operators_are_out_at_once(console: ConsoleServer, http: httpx2.Client) -> None:
    as_role(console, http, "admin")
    made = {"name": "Ada", "password": PASSWORD, "role": "operator"}
    http.post("/operators", data=made)
    ada = next(o for o in console.run(console.accounts.operators()) if o.name == "Ada")
    headers = {"sec-fetch-site": "same-origin", "accept": "text/html"}
    with httpx2.Client(base_url=console.url, headers=headers) as hers:
        assert sign_in(hers, "Ada").status_code == 303
        http.post(f"/operators/{ada.id}", data={"role": "operator", "disabled": "yes"})
        assert hers.get("/").status_code == 303
        assert sign_in(hers, "Ada").status_code == 401


def test_tokens_are_shown_once_and_stored_hashed(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    as_role(console, http, "admin")
    made = http.post("/tokens", data={"name": "exporter", "role": "viewer"}).text
    token = made.split('id="made-token">')[1].split("<")[0]
    assert token.startswith("roost_")
    assert token not in http.get("/tokens").text
    principal = console.run(console.tokens.find(token))
    assert principal is not None
    assert principal.role is Role.viewer
    key = console.run(console.tokens.list())[0].key
    assert http.post(f"/tokens/{key}/revoke").status_code == 303
    assert console.run(console.tokens.find(token)) is None


def test_changing_ones_password_ends_other_logins(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    as_role(console, http, "operator")
    other = httpx2.Client(base_url=console.url, headers={"sec-fetch-site": "same-origin"})
    with other:
        assert sign_in(other, "The operator").status_code == 303
        wrong = http.post("/account/password", data={"old": "no", "new": "another long one"})
        assert wrong.status_code == 422
        http.post("/account/password", data={"old": PASSWORD, "new": "another long one"})
        assert http.get("/account").status_code == 200
        assert other.get("/account").status_code == 401
