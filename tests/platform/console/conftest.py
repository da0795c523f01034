"""Consoles to test: a seeded one for looking, an empty one for sign-in, and a headless Chromium."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from sqlalchemy import select

from roost_platform.db import models
from roost_platform.testing.console import (
    ADMIN,
    CalmEngine,
    ConsoleServer,
    an_hour_of,
    engine_session,
    seed,
)
from roost_platform.testing.console.reader import Reader
from roost_platform.views.faults.system import ShownCheck, ShownSetting, SystemView

# Lines as a part writes them.
LOG = "".join(
    json.dumps(
        {"event": event, "turn_id": "t-1", "level": level, "part": "worker", "timestamp": at}
    )
    + "\n"
    for event, level, at in (
        ("turn begins", "info", "2026-01-01T00:00:01Z"),
        ("model call failed", "error", "2026-01-01T00:00:02Z"),
    )
)
CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)
DESKTOP, PHONE = (1440, 900), (390, 844)


@dataclass
class Seeded:
    """A console with a plausible day in it, and an admin's cookie."""

    server: ConsoleServer
    ids: dict[str, str]
    cookie: dict[str, str]

    def watch(self, browser: Browser, **options: Any) -> "Watched":
        """A fresh browser context, signed in as the admin."""
        return watch(
            browser,
            options.pop("url", self.server.url),
            options.pop("cookie", self.cookie),
            **options,
        )


def copied(template: Path, folder: Path) -> str:
    shutil.copy(template, folder / "roost.db")
    return f"sqlite:///{folder / 'roost.db'}"


def a_system(logs: Path) -> SystemView:
    """A stack's settings, findings and logs."""
    logs.mkdir()
    (logs / "worker.log").write_text(LOG)
    settings = [
        ShownSetting("engine.url", "ROOST_ENGINE__URL", "http://e", "", "environment", False, "Of"),
        ShownSetting("engine.api_key", "ROOST_ENGINE__API_KEY", "set", "", "file", True, "Key"),
        ShownSetting("log.level", "ROOST_LOG__LEVEL", "info", "info", "default", False, "Least"),
    ]
    checks = [ShownCheck("stack", "ok", "runs"), ShownCheck("disk", "warning", "nearly full")]
    return SystemView(settings, lambda: checks, logs)


async def session_ids(server: ConsoleServer) -> list[str]:
    async with server.stores.database.read() as session:
        return list(await session.scalars(select(models.Session.id)))


@pytest.fixture
def console(sqlite_url: str) -> Iterator[ConsoleServer]:
    """A console over an empty database."""
    with ConsoleServer(sqlite_url).serving() as server:
        yield server


@pytest.fixture
def http(console: ConsoleServer) -> Iterator[httpx2.Client]:
    """A client that says what a browser says on our own pages, and follows nothing by itself."""
    headers = {"sec-fetch-site": "same-origin", "accept": "text/html"}
    with httpx2.Client(base_url=console.url, headers=headers) as client:
        yield client


@pytest.fixture(scope="module")
def seeded(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    """A console with a plausible day in it, shared by one module's tests."""
    folder = tmp_path_factory.mktemp("seeded")
    url = copied(sqlite_template, folder)
    engine = CalmEngine()
    options = {"system": a_system(folder / "logs")}
    with ConsoleServer(url, engine=engine, options=options).serving() as server:
        ids = server.run(seed(server.stores, time.time()))
        known = [*server.run(session_ids(server)), "a-session-of-nobody-here"]
        engine.sessions = [engine_session(id, at) for at, id in enumerate(known)][::-1]
        assert server.watch is not None
        an_hour_of(server.watch, time.time())
        yield Seeded(server, ids, server.sign_in_cookie(ADMIN, "admin"))


@pytest.fixture(scope="module")
def empty(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ConsoleServer]:
    """A console nobody has set up, for one test of a module."""
    url = copied(sqlite_template, tmp_path_factory.mktemp("empty"))
    with ConsoleServer(url).serving() as server:
        yield server


@pytest.fixture(scope="module")
def browser(seeded: Seeded, empty: ConsoleServer) -> Iterator[Browser]:
    """One Chromium per module: Playwright's loop must not outlive it, asyncio tests follow."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield chromium
        chromium.close()


@dataclass
class Watched:
    """A page with everything it must not do written down."""

    page: Page
    context: BrowserContext
    url: str
    violations: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        self.page.goto(self.url + path, wait_until="load")
        return self.page

    def check(self) -> None:
        assert self.violations == []
        assert self.foreign == []
        assert self.errors == []


# CSP reports reach the page itself, whatever the console shows of them.
LISTEN = """
document.addEventListener("securitypolicyviolation", (e) =>
  console.error(`CSP ${e.violatedDirective} ${e.blockedURI}`));
"""


def watch(
    browser: Browser,
    url: str,
    cookie: dict[str, str] | None,
    *,
    theme: str = "light",
    size: tuple[int, int] = DESKTOP,
) -> Watched:
    """A fresh browser context on the console, signed in when a cookie is given."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce"
    )
    cookies = [{"name": "roost_theme", "value": theme}] + ([cookie] if cookie else [])
    context.add_cookies(cast(Any, [{**one, "url": url} for one in cookies]))
    context.add_init_script(LISTEN)
    page = context.new_page()
    watched = Watched(page, context, url)
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.on(
        "console",
        lambda said: (
            watched.violations.append(said.text)
            if "CSP" in said.text or "Content Security Policy" in said.text
            else None
        ),
    )
    page.on(
        "request",
        lambda request: (
            watched.foreign.append(request.url)
            if not request.url.startswith((url, "data:"))
            else None
        ),
    )
    return watched


@pytest.fixture
def admin_page(browser: Browser, seeded: Seeded) -> Iterator[Watched]:
    """The seeded console as its admin sees it; what it must not do fails the test at the end."""
    watched = seeded.watch(browser)
    yield watched
    watched.context.close()
    watched.check()


@pytest.fixture
def reader(database_url: str) -> Iterator[Reader]:
    now = time.time()  # the pages' clock stands still, so that windows of time are exact
    with ConsoleServer(database_url, engine=CalmEngine(), clock=lambda: now).serving() as server:
        cookie = server.sign_in_cookie(ADMIN, "admin")
        headers = {"sec-fetch-site": "same-origin", "accept": "text/html"}
        with httpx2.Client(base_url=server.url, headers=headers) as http:
            http.cookies.set(cookie["name"], cookie["value"])
            yield Reader(server, http)
