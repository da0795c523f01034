"""Requests of strangers that cost much: what is refused before it costs anything."""

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar

import httpx2
import pytest
from argon2 import PasswordHasher, extract_parameters
from sqlalchemy import func, select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from roost_platform.console.endpoint import body_limit
from roost_platform.console.page import FORM_BYTES_MAX, PUBLIC_FORM_BYTES_MAX
from roost_platform.console.page_response import PAGE_THREADS, in_page_thread
from roost_platform.console.routes import TABLE
from roost_platform.db import models
from roost_platform.errors import Busy
from roost_platform.identity.login_failures import LOGIN_FAILURES_CROWD, LOGIN_FAILURES_MAX
from roost_platform.identity.passwords import HASH_NICENESS, HASHES_WAITING_MAX, Passwords
from roost_platform.identity.roles import Role
from roost_platform.processes import web
from roost_platform.processes.serving import SWITCH_INTERVAL_S
from roost_platform.settings.config import load_settings
from roost_platform.testing.console import PASSWORD, ConsoleServer
from roost_platform.web.security import console_middleware

FORM = {"content-type": "application/x-www-form-urlencoded"}
PUBLIC_FORMS = [one.path for one in TABLE if one.method == "POST" and one.role is Role.public]


def sign_in(http: httpx2.Client, name: str, password: str) -> int:
    return http.post("/login", data={"name": name, "password": password}).status_code


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that were hashed to check them."""
    real, passwords = Passwords.verify, list[str]()

    async def noting(self: Passwords, stored: str | None, password: str) -> bool:
        passwords.append(password)
        return await real(self, stored, password)

    monkeypatch.setattr(Passwords, "verify", noting)
    return passwords


def rows(console: ConsoleServer) -> tuple[int, int]:
    """How many failures and audit entries there are."""

    async def count() -> tuple[int, int]:
        async with console.stores.database.read() as session:
            failures = await session.scalar(select(func.count()).select_from(models.LoginFailure))
            entries = await session.scalar(select(func.count()).select_from(models.Audit))
        return failures or 0, entries or 0

    return console.run(count())


def test_a_locked_account_is_refused_without_hashing(
    console: ConsoleServer, http: httpx2.Client, checked: list[str]
) -> None:
    console.run(console.accounts.create("Grace", PASSWORD, Role.admin))
    codes = {sign_in(http, "Grace", f"wrong {number}") for number in range(LOGIN_FAILURES_MAX)}
    assert codes == {401} and len(checked) == LOGIN_FAILURES_MAX
    before = rows(console)
    assert {sign_in(http, "Grace", word) for word in ("wrong", PASSWORD, "")} == {429}
    assert len(checked) == LOGIN_FAILURES_MAX
    assert rows(console) == before


def test_guesses_of_ever_new_names_are_refused_without_hashing(
    console: ConsoleServer, http: httpx2.Client, checked: list[str]
) -> None:
    codes = [sign_in(http, f"nobody {number}", "wrong") for number in range(LOGIN_FAILURES_CROWD)]
    assert set(codes) == {401} and len(checked) == LOGIN_FAILURES_CROWD
    before = rows(console)
    refused = [sign_in(http, f"somebody {number}", "wrong") for number in range(5)]
    # One more is taken every five seconds, should this machine be so slow.
    taken = refused.count(401)
    assert refused.count(429) == 5 - taken and taken <= 1
    assert len(checked) == LOGIN_FAILURES_CROWD + taken
    assert taken or rows(console) == before


def test_a_refused_try_waits_for_no_writer(console: ConsoleServer, http: httpx2.Client) -> None:
    for number in range(LOGIN_FAILURES_MAX):
        assert sign_in(http, "nobody", f"wrong {number}") == 401

    async def refused_while_writing() -> int:
        async with console.stores.database.write():
            return await asyncio.to_thread(sign_in, http, "nobody", "wrong")

    assert console.run(refused_while_writing()) == 429


class Blocked:
    """A hasher that waits until it may go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def hash(self, password: str) -> str:
        self.go_on.wait(30)
        return password


@pytest.fixture
def blocked() -> Iterator[Blocked]:
    hasher = Blocked()
    yield hasher
    hasher.go_on.set()


async def test_passwords_that_wait_for_their_hash_are_bounded(blocked: Blocked) -> None:
    passwords = Passwords(blocked)  # type: ignore[arg-type]
    waiting = [
        asyncio.create_task(passwords.hash(f"a long password {number}"))
        for number in range(HASHES_WAITING_MAX)
    ]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await passwords.hash("one password too many")
    with pytest.raises(Busy):
        passwords.refuse_if_full()
    blocked.go_on.set()
    await asyncio.gather(*waiting)
    passwords.refuse_if_full()


def test_a_try_is_not_counted_while_too_many_wait(
    console: ConsoleServer, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Passwords) -> None:
        raise Busy("Too many people sign in at the moment.")

    monkeypatch.setattr(Passwords, "refuse_if_full", full)
    before = rows(console)
    answer = http.post("/login", data={"name": "Grace", "password": "wrong"})
    assert answer.status_code == 503 and "Too many people" in answer.text
    assert rows(console) == before


async def test_a_hash_takes_one_core_and_gives_way() -> None:
    passwords = Passwords()
    assert extract_parameters(await passwords.hash("a long password")).parallelism == 1

    class Asking:
        def hash(self, password: str) -> str:
            return str(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    if sys.platform == "linux":
        asked = await Passwords(Asking()).hash("a long password")  # type: ignore[arg-type]
        assert int(asked) >= HASH_NICENESS
        assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) < int(asked)


def test_a_hash_of_old_parameters_is_renewed_by_the_next_login(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    console.run(console.accounts.create("Grace", PASSWORD, Role.admin))
    old = PasswordHasher(time_cost=1, memory_cost=2048, parallelism=4).hash(PASSWORD)

    async def stored(value: str | None = None) -> str:
        async with console.stores.database.write() as session:
            operator = (await session.scalars(select(models.Operator))).one()
            operator.password_hash = value or operator.password_hash
            return operator.password_hash

    console.run(stored(old))
    assert sign_in(http, "Grace", "wrong") == 401
    assert console.run(stored()) == old
    assert sign_in(http, "Grace", PASSWORD) == 303
    renewed = console.run(stored())
    assert extract_parameters(renewed).parallelism == 1
    assert sign_in(http, "Grace", PASSWORD) == 303
    assert console.run(stored()) == renewed


@pytest.mark.parametrize("path", PUBLIC_FORMS)
@pytest.mark.parametrize("is_declared", [True, False])
def test_a_form_without_a_login_is_small(http: httpx2.Client, path: str, is_declared: bool) -> None:
    body = b"&" * (PUBLIC_FORM_BYTES_MAX + 1)
    content = body if is_declared else iter([body[:-1], body[-1:]])
    assert http.post(path, content=content, headers=FORM).status_code == 413


def test_a_form_that_is_too_large_is_refused_before_any_of_it_is_read(
    console: ConsoleServer,
) -> None:
    host = console.url.removeprefix("http://")
    lines = (
        "POST /login HTTP/1.1",
        f"host: {host}",
        "sec-fetch-site: same-origin",
        f"content-type: {FORM['content-type']}",
        f"content-length: {PUBLIC_FORM_BYTES_MAX + 1}",
    )
    address, port = host.split(":")
    with socket.create_connection((address, int(port)), timeout=30) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_every_form_but_those_with_files_has_a_bound() -> None:
    forms = [one for one in TABLE if one.method == "POST"]
    assert {one.body_bytes_max for one in forms} == {PUBLIC_FORM_BYTES_MAX, FORM_BYTES_MAX, None}
    assert [one.path for one in forms if one.body_bytes_max is None] == ["/sandbox/{phone}"]


def test_the_longest_text_fits_into_a_form(console: ConsoleServer, http: httpx2.Client) -> None:
    cookie = console.sign_in_cookie("Grace", "admin")
    http.cookies.set(cookie["name"], cookie["value"])
    answer = http.post("/sessions/none/reply", data={"text": "\N{GRINNING FACE}" * 20_000})
    assert answer.status_code == 404  # it was read, and there is no such session
    large = http.post("/sessions/none/reply", content=b"&" * (FORM_BYTES_MAX + 1), headers=FORM)
    assert large.status_code == 413


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"a=b&" * 100, FORM["content-type"]),
        (b"--x\r\n" * 100, "multipart/form-data; boundary=x"),
        (b"--x\r\n" + b"a: b\r\n" * 1000, "multipart/form-data; boundary=x"),
        (b"name=x", "multipart/form-data"),
        (
            b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nx\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
    ],
)
@pytest.mark.parametrize("path", PUBLIC_FORMS)
def test_a_form_that_cannot_be_read_is_refused(
    http: httpx2.Client, path: str, body: bytes, kind: str
) -> None:
    answer = http.post(path, content=body, headers={"content-type": kind})
    assert answer.status_code == 400, answer.text


def test_a_routes_bound_never_lifts_the_ports(sqlite_url: str) -> None:
    async def echo(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    app = Starlette(
        routes=[Route("/hooks/x", echo, methods=["POST"], middleware=body_limit(1000))],
        middleware=console_middleware(allowed_hosts=["test"], body_bytes_max=100),
    )

    async def sizes() -> list[int]:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
            answers = [await http.post("/hooks/x", content=b"x" * size) for size in (100, 101)]
        return [answer.status_code for answer in answers]

    assert asyncio.run(sizes()) == [200, 413]


async def test_pages_are_made_on_few_threads_and_keep_their_context() -> None:
    """Each thread that makes a page takes its turns from the event loop."""
    running, most = 0, 0
    lock = threading.Lock()

    def page(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return number + base.get()

    base = ContextVar[int]("base")
    base.set(100)
    made = await asyncio.gather(*(in_page_thread(page, number) for number in range(8)))
    assert made == [100 + number for number in range(8)]
    assert most == PAGE_THREADS


def test_threads_of_the_web_part_leave_the_interpreter_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    intervals = []

    async def serve(_settings: object) -> None:
        intervals.append(sys.getswitchinterval())

    before = sys.getswitchinterval()
    monkeypatch.setattr(web, "_serve", serve)
    try:
        assert web.run(load_settings(environ={})) == 0
    finally:
        sys.setswitchinterval(before)
    assert intervals == [pytest.approx(SWITCH_INTERVAL_S)]
