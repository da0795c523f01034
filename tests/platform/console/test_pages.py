"""Every page in a real browser: keeps to its policy, accessible, fits a phone."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, expect

from roost_platform.testing.console.waits import add_waits
from roost_platform.testing.console.workflows import add_workflows

PAGES = {
    "overview": "/",
    "sessions": "/sessions",
    "session": "/sessions/{ada}",
    "step": "/sessions/{ada}/turns/{turn}/steps/1",
    "search": "/search?q=the",
    "bulk stop": "/sessions/stop",
    "deliveries": "/deliveries",
    "delivery": "/deliveries/{failed}",
    "approvals": "/approvals",
    "question": "/approvals/{asked-question}",
    "form": "/approvals/{asked-form}",
    "decided approval": "/approvals/{asked-denied}",
    "waits": "/sessions/{waits-all}",
    "agents & tools": "/tools",
    "agent": "/tools/concierge",
    "schedules": "/schedules",
    "schedule": "/schedules/{schedule-active}",
    "flows": "/flows",
    "flow": "/flows/{flow-waiting}",
    "channels": "/channels",
    "people": "/people",
    "person data": "/people/{eve}/data",
    "alerts": "/alerts",
    "inference": "/inference",
    "chat": "/chat/trial",
    "new chat": "/chat/someone-new",
    "operators": "/operators",
    "tokens": "/tokens",
    "audit": "/audit",
    "settings": "/settings",
    "doctor": "/doctor",
    "logs": "/logs",
    "account": "/account",
    "empty search": "/sessions?q=nothing-like-it",
    "refused name": "/chat?name=not%20a%20name",
    "unknown address": "/nothing/here",
    "patterns": "/patterns",
    "not found": "/sessions/nothing",
}
LOOKS = {"light desktop": ("light", (1440, 900)), "dark phone": ("dark", (390, 844))}


@pytest.fixture(scope="module", params=LOOKS)
def looked_at(request: pytest.FixtureRequest, browser: Browser, seeded: Any) -> Iterator[Any]:
    """One browser context for all pages in one look: what pages share is loaded once."""
    theme, size = LOOKS[request.param]
    watched = seeded.watch(browser, theme=theme, size=size)
    yield watched, theme
    watched.context.close()


@pytest.fixture(scope="module")
def ids(seeded: Any) -> dict[str, str]:
    """What the addresses of pages name: a plausible day, and what waits in it."""
    server, now = seeded.server, time.time()
    waits = server.run(add_waits(server.stores, now))
    return {
        **seeded.ids,
        **server.run(add_workflows(server.stores, now)),
        **{f"waits-{name}": id for name, id in waits.chats.items()},
        **{f"asked-{name}": id for name, id in waits.approvals.items()},
    }


@pytest.mark.parametrize("name", PAGES)
def test_page_is_accessible_keeps_to_its_policy_and_fits(
    name: str, looked_at: Any, ids: dict[str, str]
) -> None:
    watched, theme = looked_at
    page = watched.open(PAGES[name].format(**ids))
    expect(page.locator("html")).to_have_class(theme)
    if page.locator("#live").count():
        expect(page.locator("#live-mark")).to_be_visible()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    watched.check()
