"""Files of a conversation on its page: for whom, in what form, and with what trace."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from roost_platform.console.pages import files as files_page
from roost_platform.console.pages.files import file_name
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import Stores, open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, Person
from roost_platform.testing.console import ConsoleServer
from roost_platform.views.files import FILES_SHOWN_MAX, FileView

HTML = b"<script>alert(1)</script>"


@pytest.fixture
def console(sqlite_url: str, tmp_path: Path) -> Iterator[ConsoleServer]:
    with ConsoleServer(sqlite_url, files=tmp_path / "files").serving() as server:
        yield server


def as_role(console: ConsoleServer, http: httpx2.Client, role: str) -> None:
    cookie = console.sign_in_cookie(f"The {role}", role)
    http.cookies.set(cookie["name"], cookie["value"])


async def made(stores: Stores, chat: str, *names: str) -> tuple[str, list[str]]:
    """A conversation in which an agent made files of these names: its id, and theirs."""
    policies = {("telegram", "42"): AccessPolicy("open")}
    opened = open_stores(stores.database, policies=policies)
    bell = DoorbellLog()
    person = Person(opened, PlatformIntake(opened, bell), bell)
    person.address = type(person.address)("telegram", "42", chat)
    await person.says("draw")
    turn = await person.turn()
    ids = []
    for number, name in enumerate(names):
        file = await stores.artifacts.add(
            turn.turn_id, f"k{number}", HTML, kind="", name=name, mime_type="text/html"
        )
        ids.append(file.id)
    return await person.conversation_id(), ids


def test_a_file_is_handed_out_to_keep_and_never_to_show(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    id, [file] = console.run(made(console.stores, "1", 'bêta/"x".html'))
    as_role(console, http, "operator")
    page = http.get(f"/sessions/{id}")
    assert f"/sessions/{id}/files/{file}" in page.text and "made here" in page.text
    answer = http.get(f"/sessions/{id}/files/{file}")
    assert (answer.status_code, answer.content) == (200, HTML)
    headers = answer.headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == "attachment; filename*=utf-8''b%C3%AAta__x_.html"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("sandbox")
    assert headers["cache-control"] == "no-store"
    [row] = [one for one in console.run(console.stores.audit.list()) if "artifact" in one.action]
    assert (row.action, row.object, row.actor) == ("artifact.read", file, "The operator")
    assert row.detail == {"conversation": id, "bytes": len(HTML), "via": "console"}


def test_files_are_for_those_who_read_texts_and_for_their_own_conversation(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    id, [file] = console.run(made(console.stores, "1", "secret plan.pdf"))
    other, _ = console.run(made(console.stores, "2"))
    path = f"/sessions/{id}/files/{file}"
    assert http.get(path, headers={"accept": "application/json"}).status_code == 401
    as_role(console, http, "viewer")
    assert http.get(path).status_code == 403
    for page in (f"/sessions/{id}", f"/sessions/{id}.json"):
        assert "secret plan" not in http.get(page).text
    as_role(console, http, "operator")
    assert http.get(path).status_code == 200
    for wrong in (f"/sessions/{other}/files/{file}", f"/sessions/{id}/files/..%2f..%2froost.db"):
        assert http.get(wrong).status_code == 404


def test_what_is_gone_or_too_large_is_told(
    console: ConsoleServer, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    id, [kept, gone, old] = console.run(made(console.stores, "1", "a", "b", "c"))
    as_role(console, http, "operator")
    console.stores.artifacts.path(gone).unlink()
    assert http.get(f"/sessions/{id}/files/{gone}").status_code == 404
    console.run(console.stores.artifacts.sweep(float("inf")))
    answer = http.get(f"/sessions/{id}/files/{old}")
    assert answer.status_code == 404 and "kept long enough" in answer.text
    id, [kept] = console.run(made(console.stores, "2", "a"))
    monkeypatch.setattr(files_page, "DOWNLOAD_BYTES_MAX", len(HTML) - 1)
    assert http.get(f"/sessions/{id}/files/{kept}").status_code == 422
    read = [one for one in console.run(console.stores.audit.list()) if "artifact" in one.action]
    assert read == []


def test_a_page_lists_a_bounded_number_of_files(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    names = [f"n{number}" for number in range(FILES_SHOWN_MAX + 5)]
    id, _ = console.run(made(console.stores, "1", *names))
    as_role(console, http, "operator")
    assert http.get(f"/sessions/{id}").text.count("/files/") == FILES_SHOWN_MAX


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a\r\nset-cookie: x", "aset-cookie: x"),
        ("", "photo-bcd"),
        ("...", "photo-bcd"),
        ("x" * 500, "x" * 120),
    ],
)
def test_names_carry_no_folders_and_no_line_breaks(given: str, name: str) -> None:
    view: Any = FileView("bcd", given, "photo", 1, "stored", "", 0.0, False)
    assert file_name(view) == name
