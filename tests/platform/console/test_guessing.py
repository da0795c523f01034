"""Guessing passwords and setup links: what it costs the guesser, and nobody else."""

import time
from collections.abc import Iterator

import httpx2
import pytest
from sqlalchemy import select

from roost_platform.db import models
from roost_platform.identity import login_failures
from roost_platform.identity.login_failures import (
    LOGIN_FAILURES_CROWD,
    LOGIN_FAILURES_MAX,
    LOGIN_SPACING_S,
    _subjects,
)
from roost_platform.identity.passwords import Passwords
from roost_platform.identity.roles import Role
from roost_platform.testing.console import PASSWORD, ConsoleServer


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
def console(sqlite_url: str, clock: Clock) -> Iterator[ConsoleServer]:
    with ConsoleServer(sqlite_url, clock=clock).serving() as server:
        yield server


def sign_in(http: httpx2.Client, name: str, password: str = PASSWORD) -> httpx2.Response:
    return http.post("/login", data={"name": name, "password": password})


def fill_failures(console: ConsoleServer, at: float, **failures: int) -> None:
    """So many failures of these names, each from an address of its own."""

    async def add() -> None:
        async with console.stores.database.write() as session:
            for name, count in failures.items():
                for number in range(count):
                    where = f"203.0.113.{number % 250}"
                    for subject in _subjects(name, where):
                        session.add(models.LoginFailure(subject=subject, at=at))

    console.run(add())


def test_s14_twenty_wrong_logins_at_one_address_lock_nobody_else_there(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    console.run(console.accounts.create("Grace", PASSWORD, Role.admin))
    for number in range(20):
        assert sign_in(http, f"Guess {number}", "wrong").status_code == 401
    assert sign_in(http, "Grace").status_code == 303


def test_guesses_from_elsewhere_do_not_lock_an_account(
    console: ConsoleServer, http: httpx2.Client, clock: Clock
) -> None:
    console.run(console.accounts.create("Grace", PASSWORD, Role.admin))
    fill_failures(console, clock(), Grace=LOGIN_FAILURES_CROWD - 1)
    assert sign_in(http, "Grace").status_code == 303


def test_a_crowd_of_guesses_slows_the_right_password_and_locks_it_never(
    console: ConsoleServer, http: httpx2.Client, clock: Clock
) -> None:
    console.run(console.accounts.create("Grace", PASSWORD, Role.admin))
    fill_failures(console, clock(), Grace=LOGIN_FAILURES_CROWD)
    held = sign_in(http, "Grace")
    assert held.status_code == 429
    assert int(held.headers["retry-after"]) <= LOGIN_SPACING_S + 1
    clock.ahead_s += LOGIN_SPACING_S
    assert sign_in(http, "Grace").status_code == 303


def test_where_an_account_is_signed_in_a_crowd_elsewhere_does_not_slow_it(
    console: ConsoleServer, http: httpx2.Client, clock: Clock
) -> None:
    console.sign_in_cookie("Grace", "admin")  # from 127.0.0.1, as the test's client is
    fill_failures(console, clock(), Grace=LOGIN_FAILURES_CROWD)
    assert sign_in(http, "Grace").status_code == 303


def test_failures_kept_are_bounded_and_the_newest_stay(
    console: ConsoleServer, http: httpx2.Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_failures, "LOGIN_FAILURES_KEPT_MAX", 9)
    for number in range(8):
        sign_in(http, f"Guess {number}", "wrong")

    async def kept() -> list[str]:
        async with console.stores.database.read() as session:
            return list(await session.scalars(select(models.LoginFailure.subject)))

    subjects = console.run(kept())
    assert len(subjects) <= 9 + 3
    assert "account|Guess 7" in subjects and "account|Guess 0" not in subjects


def test_neighbours_in_one_ipv6_network_are_one_client() -> None:
    first, second = _subjects("a", "2001:db8::1"), _subjects("a", "2001:db8::ffff:2")
    assert first == second != _subjects("a", "2001:db8:0:1::1")
    assert _subjects("a", "::ffff:192.0.2.1") == _subjects("a", "192.0.2.1")
    assert _subjects("a", "::ffff:192.0.2.1") != _subjects("a", "::ffff:192.0.2.2")
    assert _subjects("a|b", "1.2.3.4") != _subjects("a", "b|1.2.3.4")


def test_names_that_no_database_holds_are_wrong_names(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    async def subjects() -> list[str]:
        async with console.stores.database.read() as session:
            return list(await session.scalars(select(models.LoginFailure.subject)))

    assert sign_in(http, "Gr\x00ace").status_code == 401
    found = console.run(subjects())
    assert "account|Grace" in found and not any("\x00" in subject for subject in found)


def test_setup_looks_at_the_token_before_it_hashes_anything(
    console: ConsoleServer, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    real = console.accounts.passwords.hash

    async def counting(self: Passwords, password: str) -> str:
        hashed.append(password)
        return await real(password)

    monkeypatch.setattr(Passwords, "hash", counting)
    token = console.run(console.accounts.new_setup_token())
    for wrong in ("", "wrong", token[:-1], token + "x"):
        data = {"token": wrong, "name": "Grace", "password": PASSWORD}
        assert http.post("/setup", data=data).status_code == 403
    assert not hashed
    data["token"] = token
    assert http.post("/setup", data=data).status_code == 303
    assert hashed == [PASSWORD]
    assert http.post("/setup", data=data).status_code == 403
    assert hashed == [PASSWORD]


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip"])
def test_a_made_up_forwarding_header_gives_no_new_tries(
    console: ConsoleServer, http: httpx2.Client, header: str
) -> None:
    console.run(console.accounts.create("Grace", PASSWORD, Role.admin))
    codes = []
    for number in range(2 * LOGIN_FAILURES_MAX):
        http.headers[header] = f"198.51.100.{number}"
        codes.append(sign_in(http, "Grace", "wrong guess here").status_code)
    assert codes == [401] * LOGIN_FAILURES_MAX + [429] * LOGIN_FAILURES_MAX
    assert {row.ip for row in console.run(console.stores.audit.list())} == {"127.0.0.1"}
