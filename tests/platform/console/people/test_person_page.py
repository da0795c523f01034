"""One person's page: addresses that were linked, linking with another, and unlinking."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, expect
from sqlalchemy import select

from roost_platform.db import models
from roost_platform.testing.console import ADMIN, ConsoleServer, seed


@dataclass
class Two:
    """A console of its own, as the tests join people for good; `ada` and `eve` are ids."""

    server: ConsoleServer
    ada: str
    eve: str

    def access(self, id: str) -> str:
        found = self.server.run(self.server.stores.people.get(id))
        return "" if found is None else found.access


async def person_at(server: ConsoleServer, channel: str, address: str) -> str:
    async with server.stores.database.read() as session:
        found = await session.scalar(
            select(models.Alias.identity_id).where(
                models.Alias.channel == channel, models.Alias.address == address
            )
        )
        assert found is not None
        return found


@pytest.fixture
def two(sqlite_template: Path, tmp_path: Path) -> Iterator[Two]:
    path = tmp_path / "roost.db"
    path.write_bytes(sqlite_template.read_bytes())
    with ConsoleServer(f"sqlite:///{path}").serving() as server:
        server.run(seed(server.stores, time.time()))
        ada = server.run(person_at(server, "telegram", "1001"))
        eve = server.run(person_at(server, "telegram", "1666"))
        yield Two(server, ada, eve)


def signed_in(two: Two, browser: Browser, seeded: Any, role: str = "admin", **options: Any) -> Any:
    cookie = two.server.sign_in_cookie(f"The {role}", role)
    return seeded.watch(browser, url=two.server.url, cookie=cookie, **options)


def test_an_operator_links_two_people_and_unlinks_an_address(
    browser: Browser, seeded: Any, two: Two
) -> None:
    watched = signed_in(two, browser, seeded)
    page = watched.open("/people")
    page.locator("#people-list").get_by_role("link", name="Ada Lovelace", exact=True).click()
    expect(page.locator("h1")).to_have_text("Ada Lovelace")
    expect(page.get_by_role("button", name="Unlink")).to_have_count(0)
    page.get_by_label("Search people to link").fill("stranger")
    page.get_by_role("button", name="Search", exact=True).click()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Link Eve Stranger").click()
    expect(page.locator("#person")).to_contain_text("1666")
    expect(page.locator("#person")).to_contain_text("by The admin")
    assert two.server.run(two.server.stores.people.get(two.eve)) is None
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Unlink 1666").click()
    expect(page.locator("#person")).not_to_contain_text("1666")
    assert (two.access(two.ada), two.access(two.eve)) == ("allowed", "pending")
    actions = [entry.action for entry in two.server.run(two.server.stores.audit.list())]
    assert actions[:2] == ["person.unlink", "person.link"]
    watched.check()
    watched.context.close()


def test_the_page_of_an_id_from_before_a_link_is_the_persons(
    browser: Browser, seeded: Any, two: Two
) -> None:
    two.server.run(two.server.stores.people.link(two.ada, two.eve, ADMIN))
    watched = signed_in(two, browser, seeded, "viewer")
    page = watched.open(f"/people/{two.eve}")
    expect(page.locator("h1")).to_have_text("Ada Lovelace")
    expect(page.get_by_role("button", name="Unlink")).to_have_count(0)
    expect(page.get_by_label("Search people to link")).to_have_count(0)
    watched.context.close()


@pytest.mark.parametrize(("theme", "size"), [("light", (390, 844)), ("dark", (1440, 900))])
def test_the_page_is_accessible_and_fits(
    browser: Browser, seeded: Any, two: Two, theme: str, size: tuple[int, int]
) -> None:
    two.server.run(two.server.stores.people.link(two.ada, two.eve, ADMIN))
    watched = signed_in(two, browser, seeded, theme=theme, size=size)
    for query in ("", "?q=a", "?q=nobody-of-that-name"):
        page = watched.open(f"/people/{two.ada}{query}")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    watched.context.close()
    watched.check()
