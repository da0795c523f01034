"""The console's routes: their order takes care of itself, and a page is declared once."""

import importlib.util
import time
from itertools import permutations
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Match, Route

from roost_platform.console.page import ConsoleRoute
from roost_platform.console.routes import PAGES, TABLE, ordered, table_of
from roost_platform.console.vendor import ICONS
from roost_platform.identity.roles import Role
from roost_platform.testing.console import ConsoleServer, seed

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "console_page" / "agents.py"


async def handler(_visit: Any) -> Any:
    raise AssertionError("never called")


def route(path: str, method: Any = "GET") -> ConsoleRoute:
    return ConsoleRoute(method, path, Role.viewer, handler)


def answering(table: tuple[ConsoleRoute, ...], path: str) -> str:
    """The path of the first route that Starlette would take."""
    scope = {"type": "http", "method": "GET", "path": path, "root_path": ""}
    for row in table:
        if Route(row.path, lambda _request: None).matches(scope)[0] is Match.FULL:
            return row.path
    raise AssertionError(f"nothing answers {path}")


def test_the_order_in_which_routes_are_declared_does_not_matter() -> None:
    declared = [
        route("/things/{id}"),
        route("/things/{id}.json"),
        route("/things/events"),
        route("/things/{id}/events"),
        route("/{anything:path}"),
    ]
    for permutation in permutations(declared):
        table = ordered(permutation)
        assert answering(table, "/things/events") == "/things/events"
        assert answering(table, "/things/one.json") == "/things/{id}.json"
        assert answering(table, "/things/one") == "/things/{id}"
        assert answering(table, "/things/one/events") == "/things/{id}/events"
        assert answering(table, "/other/one") == "/{anything:path}"


def test_two_routes_that_nothing_tells_apart_are_refused_with_their_paths() -> None:
    with pytest.raises(ValueError, match=r"/things/\{id\}.*/things/\{name\}|/things/\{name\}.*id"):
        ordered([route("/things/{id}"), route("/things/{name}")])
    ordered([route("/things/{id}"), route("/things/{name}", "POST")])


def test_every_address_of_the_console_reaches_its_own_route() -> None:
    for row in TABLE:
        if row.method == "GET":
            path = row.path.replace("{path:path}", "css/base.css")
            for name in ("id", "key", "name", "digest", "file"):
                path = path.replace(f"{{{name}}}", "some-thing")
            assert answering(TABLE, path) == row.path


def test_links_in_the_menu_have_icons_and_lead_to_pages() -> None:
    addresses = {row.path for row in TABLE if row.method == "GET"}
    links = [page.nav for page in PAGES if page.nav is not None]
    assert len(links) == len({link.href for link in links}) >= 10
    for link in links:
        assert link.icon in ICONS
        assert link.href in addresses


def loaded(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_console_page", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_page_of_the_documentation_works_like_every_other(sqlite_url: str) -> None:
    page = loaded(EXAMPLE).PAGE
    assert len(table_of([*PAGES, page])) == len(TABLE) + 3
    with ConsoleServer(sqlite_url, pages=(*PAGES, page)).serving() as server:
        server.run(seed(server.stores, time.time()))
        headers = {"accept": "text/html", "sec-fetch-site": "same-origin"}
        with httpx2.Client(base_url=server.url, headers=headers) as http:
            assert http.get("/agents").status_code == 303, "nobody is signed in"
            viewer = server.sign_in_cookie("Viewer", "viewer")
            http.cookies.set(viewer["name"], viewer["value"])
            assert http.get("/agents").status_code == 403
            assert 'href="/agents"' not in http.get("/").text
            operator = server.sign_in_cookie("Operator", "operator")
            http.cookies.set(operator["name"], operator["value"])
            assert 'href="/agents"' in http.get("/").text
            shown = http.get("/agents")
            assert shown.status_code == 200
            assert "<td>concierge</td>" in shown.text
            rows = http.get("/agents.json").json()["rows"]
            assert rows[0]["name"] == "concierge" and rows[0]["conversations"] >= 3
            with http.stream("GET", "/agents/events") as stream:
                lines = stream.iter_lines()
                assert any('hx-target="#agent-list"' in line for line in lines)
                assert any("<td>concierge</td>" in line for line in lines)


def test_the_console_is_built_of_declared_pages_only(sqlite_url: str) -> None:
    with ConsoleServer(sqlite_url, pages=()).serving() as server:
        app = Starlette(routes=server.routes)
        assert "/people" not in {getattr(one, "path", "") for one in app.routes}
