"""Colours from the first page on, the setup link in an open tab, and every state on a phone."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, expect

from roost_platform.testing.console import (
    ADMIN,
    PASSWORD,
    CalmEngine,
    ConsoleServer,
    engine_session,
    seed,
)
from roost_platform.testing.console.states import add_deliveries, add_sessions
from roost_platform.testing.console.waits import add_waits
from roost_platform.testing.console.workflows import add_workflows

LONG = "a-rather-long-name-without-any-space-in-it-" * 3
PAGES = (
    *("/login", "/setup"),
    *("/", "/sessions", "/sessions?state=held", "/sessions/{renewed}?number=1"),
    *("/deliveries", "/deliveries?state=uncertain", "/deliveries/{doubt}", "/deliveries/{held}"),
    *("/approvals", "/approvals?state=denied", "/approvals?q=nothing-like-it"),
    *("/approvals/{asked-asks-operator}", "/approvals/{asked-form}", "/approvals/{asked-denied}"),
    *("/sessions/{waits-all}", "/sessions?state=waiting"),
    *("/tools", "/tools/concierge", "/schedules", "/schedules?month=2027-02&q=zz"),
    *("/schedules/{schedule-active}", "/schedules/{schedule-paused}"),
    *("/flows", "/flows?name=nobody", "/flows/{flow-waiting}", "/flows/{flow-failed}"),
    *("/channels", "/people", "/people?q=nobody", "/audit", "/operators"),
)
LOOKS = (("light", (390, 844)), ("dark", (1440, 900)))


@pytest.fixture(scope="module")
def full(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ConsoleServer, dict[str, str]]]:
    """A console with every state in it, and long names."""
    path = tmp_path_factory.mktemp("full") / "roost.db"
    path.write_bytes(sqlite_template.read_bytes())
    engine, now = CalmEngine(), time.time()
    engine.sessions = [engine_session(LONG, number) for number in range(4)]
    with ConsoleServer(f"sqlite:///{path}", engine=engine).serving() as server:
        ids = server.run(seed(server.stores, now))
        ids |= server.run(add_sessions(server.stores, now))
        ids |= server.run(add_deliveries(server.stores, now))[1]
        ids |= server.run(add_workflows(server.stores, now))
        waits = server.run(add_waits(server.stores, now))
        ids |= {f"waits-{name}": id for name, id in waits.chats.items()}
        ids |= {f"asked-{name}": id for name, id in waits.approvals.items()}
        server.run(server.stores.channels.set("telegram", "7", "degraded", f"The `{LONG}` is cut."))
        server.run(server.stores.channels.set("telegram", "42", "auth_error", "No `token`."))
        server.run(server.stores.audit.write(ADMIN, "test", LONG, {"why": LONG}, "127.0.0.1"))
        server.run(server.intake.say(LONG[:64], LONG))
        yield server, ids


@pytest.mark.parametrize(("theme", "size"), LOOKS)
def test_every_state_is_accessible_and_fits(
    browser: Browser, seeded: Any, full: Any, theme: str, size: tuple[int, int]
) -> None:
    server, ids = full
    watched = seeded.watch(browser, url=server.url, cookie=None, theme=theme, size=size)
    for path in PAGES:
        if path == PAGES[2]:  # those before it are for people who are not signed in
            admin = server.sign_in_cookie(f"{ADMIN} in the {theme}", "admin")
            watched.context.add_cookies([{**admin, "url": server.url}])
        page = watched.open(path.format(**ids))
        found = Axe().run(page)
        assert found.violations_count == 0, (path, found.generate_report())
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), path
    watched.context.close()
    watched.check()


def test_a_table_is_a_list_on_a_phone(browser: Browser, seeded: Any, full: Any) -> None:
    server, _ = full
    admin = server.sign_in_cookie("A phone's admin", "admin")
    watched = seeded.watch(browser, url=server.url, cookie=admin, size=(390, 844))
    for path in (
        "/sessions",
        "/deliveries",
        "/people",
        "/operators",
        "/audit",
        "/inference",
        "/approvals",
        "/schedules",
        "/flows",
    ):
        page = watched.open(path)
        for cell in page.locator(".table.rows tbody tr:first-child td").all():
            box = cell.bounding_box()
            assert box is None or 0 <= box["x"] <= box["x"] + box["width"] <= 390, path
        label = (
            "() => getComputedStyle(document.querySelector('td[data-label]'), '::before').content"
        )
        assert page.evaluate(label) not in ("none", "normal"), path
    watched.context.close()


@pytest.mark.parametrize("prefers", ["dark", "light"])
def test_colours_are_those_of_the_browser_from_the_first_page_on(
    browser: Browser, empty: ConsoleServer, prefers: Any
) -> None:
    context = browser.new_context(color_scheme=prefers)
    page = context.new_page()
    page.route("**/console.js", lambda route: route.abort())  # it is too late to avoid a flash
    is_dark = "() => document.documentElement.classList.contains('dark')"
    for path in ("/login", "/setup"):
        page.goto(empty.url + path)
        assert page.evaluate(is_dark) is (prefers == "dark"), path
        page.emulate_media(color_scheme="light" if prefers == "dark" else "dark")
        page.emulate_media(color_scheme=prefers)
        colours = expect(page.locator("html"))  # the page hears of the change a moment later
        dark = re.compile(r"\bdark\b")
        (colours.to_have_class if prefers == "dark" else colours.not_to_have_class)(dark)
    page.unroute("**/console.js")
    page.goto(empty.url + "/login")
    other = "light" if prefers == "dark" else "dark"
    page.get_by_role("button", name=f"Switch to {other} colours").click()
    expect(page.locator("html")).to_have_class(other)
    page.wait_for_function("() => performance.getEntriesByName(location.origin + '/theme').length")
    page.goto(empty.url + "/setup")
    expect(page.locator("html")).to_have_class(other)
    context.close()


def test_the_setup_link_pasted_into_an_open_setup_tab_works(
    browser: Browser, empty: ConsoleServer
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{empty.url}/setup")
    expect(page.locator("#no-token")).to_be_visible()
    old, token = (empty.run(empty.accounts.new_setup_token()) for _ in range(2))
    for one in (old, token):
        page.goto(f"{empty.url}/setup#token={one}")  # changes the fragment only
        expect(page.locator("#no-token")).to_be_hidden()
        expect(page.locator("input[name=token]")).to_have_value(one)
        assert page.url == f"{empty.url}/setup"
    page.get_by_label("Name").fill("Grace")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create administrator").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_attached()
    context.close()


def test_a_time_that_is_past_is_due_now(browser: Browser, seeded: Any, full: Any) -> None:
    server, ids = full
    admin = server.sign_in_cookie("Somebody in a hurry", "admin")
    watched = seeded.watch(browser, url=server.url, cookie=admin)
    page = watched.open(f"/deliveries/{ids['stalled']}")
    expect(page.locator(".next-try")).to_have_text("Next try now.")
    # Set again and again: the live page may put its own time back meanwhile.
    page.wait_for_function(
        """() => {
          const line = document.querySelector(".next-try");
          line.querySelector("time").dateTime = new Date(Date.now() + 150000).toISOString();
          return line.textContent.includes("Next try in 3 min");
        }""",
        polling=200,
    )
    watched.context.close()


def test_code_in_an_alert_is_shown_as_code(browser: Browser, seeded: Any, full: Any) -> None:
    server, _ = full
    admin = server.sign_in_cookie("A reader of alerts", "admin")
    watched = seeded.watch(browser, url=server.url, cookie=admin)
    page = watched.open("/channels")
    expect(page.locator(".alert code")).to_have_text("token")
    expect(page.locator("#channel-cards")).not_to_contain_text("`")
    watched.context.close()
