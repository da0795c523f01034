"""No endpoint of the web port takes a command, code, a template or an address that we then use."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from roost_inference.testing.raw_server import raw_server
from roost_platform import console as console_package
from roost_platform.console.routes import TABLE
from roost_platform.db.stores import Stores
from roost_platform.testing.api_server import api_server
from roost_platform.testing.console import ConsoleServer

# Words in the name of a parameter that would promise to run, render or fetch what it holds.
DANGEROUS = re.compile(
    r"url|uri|href|link|host|port|proxy|webhook|callback|command|cmd|shell|exec|eval|code|script"
    r"|python|template|jinja|path|file|import|module|plugin|server|query|sql|expr|next|redirect"
)
# What such a name stands for all the same.
HARMLESS = {
    "code_or_id": "a pairing code or a person's id",
    "file": "the id of a stored file",
    "file_data": "the bytes of a file that the sandbox's phone sends",
    "file_name": "its name, shown as text",
    "file_type": "its MIME type, kept as text",
    "next": "where to go after signing in: a path of the console, tested in tests/platform/console",
    "phone": "one of the sandbox's phones",
}


def console_fields() -> set[str]:
    """The names of all fields, queries and path parameters of the console, from its sources."""
    folder = Path(next(iter(console_package.__path__)))
    python = "\n".join(path.read_text() for path in folder.rglob("*.py"))
    html = "\n".join(path.read_text() for path in folder.rglob("*.html"))
    found = set(re.findall(r"text_field\([^\"]*?\"(\w+)\"", python))
    found |= set(re.findall(r"(?:form\.get|\.query)\(\"(\w+)\"", python))
    found |= set(re.findall(r"<(?:input|textarea|select|button)[^>]*\bname=\"(\w+)\"", html))
    return found | {name for row in TABLE for name in re.findall(r"{(\w+)}", row.path)}


def schema_names(schema: Any) -> Iterator[str]:
    """The names of parameters and properties anywhere in an OpenAPI description."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield from schema["properties"]
        if "in" in schema and isinstance(schema.get("name"), str):
            yield schema["name"]
        for part in schema.values():
            yield from schema_names(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from schema_names(part)


def input_schemas(described: dict[str, Any]) -> list[Any]:
    """What requests may hold: the parameters and the bodies, not the answers."""
    operations = [one for path in described["paths"].values() for one in path.values()]
    given = [{k: one.get(k) for k in ("parameters", "requestBody")} for one in operations]
    names = set(re.findall(r"#/components/schemas/(\w+)", str(given)))
    return [*given, *(described["components"]["schemas"][name] for name in names)]


class Trap:
    """A server that must not be asked, and a file that must not appear."""

    def __init__(self, marker: Path) -> None:
        self.visits = 0
        self.marker = marker
        self.url = ""

    async def visited(self, _: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        self.visits += 1

    @property
    def values(self) -> list[str]:
        """An address, a command, code and templates."""
        return [
            f"{self.url}/?d=secret",
            f"$(touch {self.marker}); `touch {self.marker}` | touch {self.marker}",
            f"__import__('os').system('touch {self.marker}')",
            "{{ cycler.__init__.__globals__.os.popen('touch " + str(self.marker) + "').read() }}",
            "{{ 7919 * 7907 }}${7919 * 7907}<%= 7919 * 7907 %>#{7919 * 7907}",
            f"file://{self.marker.parent}/roost.db",
        ]


@pytest.fixture
async def trap(tmp_path: Path) -> AsyncIterator[Trap]:
    found = Trap(tmp_path / "owned")
    async with raw_server(found.visited) as found.url:
        yield found
    assert found.visits == 0 and not found.marker.exists()


def test_s17_no_field_of_the_console_is_named_like_code_or_an_address() -> None:
    fields = console_fields()
    assert {"text", "password", "mode", "q", "next", "id"} <= fields
    assert {name for name in fields if any(map(DANGEROUS.fullmatch, name.split("_")))} <= set(
        HARMLESS
    )


async def test_s17_no_parameter_of_the_api_is_named_like_code_or_an_address(
    sqlite_stores: Stores, tmp_path: Path
) -> None:
    async with api_server(sqlite_stores, tmp_path) as server, httpx2.AsyncClient() as http:
        described = (await http.get(f"{server.url}/api/openapi.json")).json()
    names = set(schema_names(input_schemas(described)))
    assert {"text", "agent", "name", "id"} <= names
    assert {name for name in names if any(map(DANGEROUS.fullmatch, name.split("_")))} <= set(
        HARMLESS
    )


async def test_s17_what_the_api_is_sent_is_neither_run_nor_rendered_nor_fetched(
    sqlite_stores: Stores, tmp_path: Path, trap: Trap
) -> None:
    async with (
        api_server(sqlite_stores, tmp_path) as server,
        httpx2.AsyncClient(base_url=server.url, headers=server.as_("admin")) as http,
    ):
        described = (await http.get("/api/openapi.json")).json()
        bodies = set(schema_names(input_schemas(described)))
        for value in trap.values:
            for path, operations in described["paths"].items():
                filled = re.sub(r"{\w+}", quote(value[:50], safe=""), path)
                for method in operations:
                    if filled.endswith("/events"):
                        continue  # a stream without an end
                    answers = [
                        await http.request(
                            method,
                            f"/api{filled}",
                            params={"q": value, "url": value, "limit": value},
                            json={**dict.fromkeys(bodies & {"text", "agent", "event_id"}, value)},
                        ),
                        await http.request(method, f"/api{filled}", json={"text": value}),
                    ]
                    assert all(answer.status_code < 500 for answer in answers), path
                    assert "62615533" not in "".join(answer.text for answer in answers)


async def test_s17_what_the_console_is_sent_is_neither_run_nor_rendered_nor_fetched(
    sqlite_url: str, trap: Trap
) -> None:
    fields = console_fields()
    with ConsoleServer(sqlite_url).serving() as server:
        await asyncio.to_thread(send_everything, server, fields, trap)


def send_everything(server: ConsoleServer, fields: set[str], trap: Trap) -> None:
    cookie = server.sign_in_cookie("Grace", "admin")
    headers = {"sec-fetch-site": "same-origin", "accept": "text/html"}
    with httpx2.Client(base_url=server.url, headers=headers) as http:
        http.cookies.set(cookie["name"], cookie["value"])
        for value in trap.values:
            for row in TABLE:
                if row.path.endswith("/events") or row.path in ("/logout", "/account/password"):
                    continue
                path = re.sub(r"{[^}]*}", "none-such", row.path)
                given = dict.fromkeys(fields - {"mode"}, value)
                if row.method == "POST":
                    answer = http.post(path, data=given)
                else:
                    answer = http.get(path, params=given)
                assert answer.status_code < 500, (row.path, answer.text[-500:])
                assert "62615533" not in answer.text, row.path
                target = answer.headers.get("location", "/")
                assert target.startswith("/") and not target.startswith("//"), row.path
        http.post("/chat/trial", data={"text": "\n\n".join(trap.values)})
        assert "62615533" not in http.get("/chat/trial").text
