"""The gateway's pages in a real browser: in every state, in two looks, alive, and used by hand."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, expect
from sqlalchemy import update

from roost_platform.db import models
from roost_platform.testing.console import ConsoleServer
from roost_platform.testing.console.gateway import add_gateway, quiet_gateway

PAGES = (
    *("/models", "/keys", "/usage", "/usage?by=key&days=30", "/usage?by=person&outcome=failed"),
    *("/usage?model=fast&key=key-2&by=target&days=400", "/usage?model=nothing-like-it", "/"),
)
LOOKS = (("light", (390, 844)), ("dark", (1440, 900)))


@pytest.fixture(scope="module")
def served(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ConsoleServer]:
    """A gateway with targets, keys and calls in every state."""
    path = tmp_path_factory.mktemp("gateway") / "roost.db"
    path.write_bytes(sqlite_template.read_bytes())
    with ConsoleServer(f"sqlite:///{path}", gateway=quiet_gateway).serving() as server:
        server.run(add_gateway(server.stores, time.time()))
        yield server


@pytest.mark.parametrize(("theme", "size"), LOOKS)
def test_every_state_is_accessible_alive_and_fits(
    browser: Browser, seeded: Any, served: ConsoleServer, theme: str, size: tuple[int, int]
) -> None:
    admin = served.sign_in_cookie(f"Admin in the {theme}", "admin")
    watched = seeded.watch(browser, url=served.url, cookie=admin, theme=theme, size=size)
    for path in PAGES:
        page = watched.open(path)
        expect(page.locator("#live-mark")).to_be_visible()
        found = Axe().run(page)
        assert found.violations_count == 0, (path, found.generate_report())
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), path
        for table in page.locator(".table-container").all():
            fits = table.evaluate("(box) => box.scrollWidth <= box.clientWidth + 1")
            assert fits, path
    page = watched.open("/models")
    page.get_by_role("button", name="Try hosted/nano of fast").click()
    expect(page.locator("#trial")).to_contain_text("Hello, I am <b>here</b>.")
    assert Axe().run(page).violations_count == 0
    watched.context.close()
    watched.check()


def test_a_table_of_the_gateway_is_a_list_on_a_phone(
    browser: Browser, seeded: Any, served: ConsoleServer
) -> None:
    admin = served.sign_in_cookie("A phone's admin", "admin")
    watched = seeded.watch(browser, url=served.url, cookie=admin, size=(390, 844))
    for path in ("/models", "/keys", "/usage?days=30"):
        page = watched.open(path)
        for cell in page.locator(".table.rows tbody tr:first-child td").all():
            box = cell.bounding_box()
            assert box is None or 0 <= box["x"] <= box["x"] + box["width"] <= 390, path
        label = (
            "() => getComputedStyle(document.querySelector('td[data-label]'), '::before').content"
        )
        assert page.evaluate(label) not in ("none", "normal"), path
    watched.context.close()


def test_pages_show_what_changes_while_they_are_open(
    browser: Browser, seeded: Any, served: ConsoleServer
) -> None:
    admin = served.sign_in_cookie("A patient admin", "admin")
    watched = seeded.watch(browser, url=served.url, cookie=admin)
    keys = watched.open("/keys")
    expect(keys.locator("#live-mark")).to_be_visible()

    async def spend() -> None:
        async with served.stores.database.write() as session:
            row = models.GatewayKeyRow
            change = update(row).where(row.id == "key-2").values(spent_microusd=4_000_000)
            await session.execute(change)

    served.run(spend())
    expect(keys.locator("#key-list")).to_contain_text("$4.00 of $5.00 this month")
    gateway = served.console.deps.gateway
    assert gateway is not None
    page = watched.open("/models")
    expect(page.locator("#live-mark")).to_be_visible()
    target = gateway.serving.router.catalogue.models["fast"].targets[0]
    target.health.in_flight = 3
    target.health.cooling_until = target.health.clock() + 90
    row = page.locator("tr", has_text="roost/small")
    expect(row).to_contain_text("Cools down")
    expect(row.locator("[data-label='In flight']")).to_have_text("3")
    target.health.in_flight = 0
    target.health.cooling_until = 0.0
    expect(row).to_contain_text("Up")
    watched.context.close()
    watched.check()


def test_filters_that_are_chosen_are_in_the_address(
    browser: Browser, seeded: Any, served: ConsoleServer
) -> None:
    viewer = served.sign_in_cookie("A reader of usage", "viewer")
    watched = seeded.watch(browser, url=served.url, cookie=viewer)
    page = watched.open("/usage?days=30")
    page.get_by_label("Grouped by").select_option("model")
    expect(page.locator("#usage-table")).to_contain_text("best")
    page.get_by_role("link", name="best").click()
    expect(page).to_have_url(f"{served.url}/usage?by=day&days=30&model=best")
    page.get_by_label("Outcome").select_option("ok")
    expect(page.get_by_role("link", name="Show any model instead of best")).to_be_visible()
    assert "model=best" in page.url and "outcome=ok" in page.url
    page.get_by_role("link", name="Show any model instead of best").click()
    expect(page).to_have_url(f"{served.url}/usage?by=day&days=30&outcome=ok")
    watched.context.close()
    watched.check()


def test_a_key_is_made_by_hand_and_its_secret_leaves_with_the_page(
    browser: Browser, seeded: Any, served: ConsoleServer
) -> None:
    admin = served.sign_in_cookie("A maker of keys", "admin")
    watched = seeded.watch(browser, url=served.url, cookie=admin)
    page = watched.open("/keys")
    page.get_by_label("What it is for").fill("by hand")
    page.get_by_label("Budget, dollars").fill("two")
    page.get_by_role("button", name="Make key").click()
    expect(page.get_by_role("alert")).to_contain_text("no amount")
    expect(page.get_by_label("What it is for")).to_have_value("by hand")
    page.get_by_label("Budget, dollars").fill("2")
    page.get_by_role("button", name="Make key").click()
    expect(page.locator("#made-key")).to_contain_text("sk-roost-")
    page.goto(f"{served.url}/keys")
    expect(page.locator("#made-key")).to_have_count(0)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Revoke by hand").click()
    expect(page.locator("tr", has_text="by hand")).to_contain_text("Revoked")
    watched.context.close()
    watched.check()
