"""What went wrong in a turn is on the pages for operators, and for nobody else."""

import time

import httpx2
import pytest
from sqlalchemy import select, update

from roost_platform.db import models
from roost_platform.testing.console import ConsoleServer, seed

WORDS = "EngineRefused: HTTP 401: Incorrect API key <b>provided</b>"
TRACE = "RuntimeError: the tool's own words"


@pytest.fixture
def session_id(console: ConsoleServer) -> str:
    """A conversation whose newest turn an engine refused, with a tool that broke."""

    async def break_a_turn() -> str:
        ids = await seed(console.stores, time.time())
        async with console.stores.database.write() as session:
            turn_id = await session.scalar(select(models.ToolCall.turn_id).limit(1))
            turn = await session.get_one(models.Turn, turn_id)
            turn.state, turn.reason_code, turn.error = "failed", "engine_refused", WORDS
            turn.finished_at = time.time() + 5
            await session.execute(update(models.ToolCall).values(error=TRACE))
            assert ids
            return turn.conversation_id

    return console.run(break_a_turn())


def sign_in(console: ConsoleServer, http: httpx2.Client, role: str) -> None:
    cookie = console.sign_in_cookie(f"A {role}", role)
    http.cookies.set(cookie["name"], cookie["value"])


def test_operators_read_the_engines_own_words_and_a_tools_trace(
    console: ConsoleServer, http: httpx2.Client, session_id: str
) -> None:
    sign_in(console, http, "operator")
    page = http.get(f"/sessions/{session_id}").text
    assert "HTTP 401: Incorrect API key &lt;b&gt;provided&lt;/b&gt;" in page
    assert "RuntimeError: the tool&#39;s own words" in page
    overview = http.get("/").text
    assert "The engine refuses to work for us" in overview
    assert "HTTP 401: Incorrect API key &lt;b&gt;provided&lt;/b&gt;" in overview
    assert f"/sessions/{session_id}" in overview
    assert "Nothing to do" not in overview


def test_viewers_see_that_something_failed_and_not_the_words(
    console: ConsoleServer, http: httpx2.Client, session_id: str
) -> None:
    sign_in(console, http, "viewer")
    for path in (f"/sessions/{session_id}", f"/sessions/{session_id}.json"):
        page = http.get(path).text
        assert "Incorrect API key" not in page, path
        assert "own words" not in page, path
    overview = http.get("/").text
    assert "The engine refuses to work for us" in overview
