"""A form that is refused says why on its own page and keeps what was typed, passwords excepted."""

import time
from typing import Any

import httpx2
import pytest

from roost_platform.testing.console import ADMIN, PASSWORD, ConsoleServer, seed

NAME = "Ada <b> “Byron”"
KEPT = 'value="Ada &lt;b&gt; “Byron”"'
LONG = "x" * 65
# Path, fields, status, and what the page still has.
FORMS: tuple[tuple[str, dict[str, str], int, str], ...] = (
    ("/operators", {"name": NAME, "password": "short", "role": "operator"}, 422, KEPT),
    ("/operators", {"name": NAME, "password": PASSWORD, "role": "king"}, 422, KEPT),
    ("/operators", {"name": LONG, "password": PASSWORD, "role": "viewer"}, 422, LONG),
    ("/operators", {"name": ADMIN, "password": PASSWORD, "role": "admin"}, 422, f'"{ADMIN}"'),
    ("/tokens", {"name": LONG, "role": "operator"}, 422, "<option selected>operator</option>"),
    ("/tokens", {"name": NAME, "role": "none"}, 422, KEPT),
    ("/sessions/{ada}/reply", {"text": "x" * 20_001}, 422, "x" * 20_001),
    ("/sessions/{ada}/reply", {"text": "  "}, 422, "Ada Lovelace"),
    ("/chat/trial", {"text": "Hello & good day", "agent": "nobody"}, 422, "Hello &amp; good day"),
    ("/account/password", {"old": "wrong-old-word", "new": "a good new word"}, 403, "password"),
)


def admin(console: ConsoleServer, http: httpx2.Client) -> dict[str, str]:
    ids = console.run(seed(console.stores, time.time()))
    cookie = console.sign_in_cookie(ADMIN, "admin")
    http.cookies.set(cookie["name"], cookie["value"])
    return ids


def test_every_refused_form_keeps_its_input(console: ConsoleServer, http: httpx2.Client) -> None:
    ids = admin(console, http)
    for path, fields, status, kept in FORMS:
        answer = http.post(path.format(**ids), data=fields)
        assert answer.status_code in (status, 422), (path, fields, answer.status_code)
        assert 'role="alert"' in answer.text, path
        assert kept in answer.text, (path, fields)
        assert "To the Overview" not in answer.text, path
        for secret in ("password", "old", "new"):
            if fields.get(secret):
                assert fields[secret] not in answer.text, path


@pytest.mark.parametrize("fields", [{"name": NAME, "password": "guessed-it"}, {"name": LONG}])
def test_a_refused_sign_in_keeps_the_name(http: httpx2.Client, fields: dict[str, str]) -> None:
    for path in ("/login", "/setup"):
        answer = http.post(path, data={"token": "no-such-token", **fields})
        assert answer.status_code in (401, 403, 422), path
        kept = KEPT if fields["name"] == NAME else LONG
        assert kept in answer.text and "guessed-it" not in answer.text, path
        assert "`" not in answer.text, path


def test_a_chat_name_that_is_refused_stays_in_its_field(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    admin(console, http)
    answer = http.get("/chat", params={"name": "not a name!"})
    assert answer.status_code == 422
    assert 'value="not a name!"' in answer.text and "at most 64" in answer.text


def test_a_toast_instead_of_a_page_leaves_the_form_alone(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    ids = admin(console, http)
    headers = {"hx-request": "true"}
    answer = http.post(f"/sessions/{ids['ada']}/reply", data={"text": " "}, headers=headers)
    assert (answer.status_code, answer.text) == (422, "")
    assert "empty" in answer.headers["x-roost-toast"]


def test_an_unknown_address_says_what_to_do(console: ConsoleServer, http: httpx2.Client) -> None:
    assert "Choose a page in the menu." in http.get("/nothing/here").text
    admin(console, http)
    page = http.get("/sessions/none-such")
    assert page.status_code == 404 and "To the Overview" in page.text


def test_a_broken_page_tells_only_operators_how(
    console: ConsoleServer, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a secret of the database driver")

    monkeypatch.setattr("roost_platform.console.pages.sessions.sessions", broken)
    for role, is_told in (("viewer", False), ("operator", True)):
        cookie = console.sign_in_cookie(f"A {role}", role)
        http.cookies.set(cookie["name"], cookie["value"])
        answer = http.get("/sessions")
        assert answer.status_code == 500 and "Try again" in answer.text
        assert ("a secret of the database driver" in answer.text) is is_told, role


def test_errors_of_networks_and_engines_are_for_operators(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    ids = console.run(seed(console.stores, time.time()))
    words = ("outside the 24 hour window", "Twilio answers slowly", "The list has no such message")
    pages = ("/", "/channels", "/deliveries", f"/deliveries/{ids['failed']}")
    twins = ("/overview.json", "/deliveries.json", f"/deliveries/{ids['failed']}.json")
    for role, is_told in (("viewer", False), ("operator", True)):
        cookie = console.sign_in_cookie(f"The {role}", role)
        http.cookies.set(cookie["name"], cookie["value"])
        text = "".join(http.get(path).text for path in (*pages, *twins))
        for one in words:
            assert (one in text) is is_told, (role, one)
