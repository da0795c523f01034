"""The worked examples of docs/extending.md run."""

import re
from pathlib import Path
from typing import Any

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from roost import Context
from roost.context import Person, SessionInfo
from roost.execution.call import verify
from roost.testing import MemoryNotes, ScriptedModel, call, run_agent
from roost_platform.db.base import migrate
from roost_platform.db.base.engine import create_engine, normalise
from roost_platform.testing.providers.gateway import gateway_server
from roost_platform.wiring.models import PROVIDERS

PAGE = (Path(__file__).parents[3] / "docs" / "extending.md").read_text()
HEAD = max((Path(__file__).parents[3] / "migrations" / "versions").glob("0*.py")).name[:4]


def example(heading: str) -> dict[str, Any]:
    """What the first code block under a heading defines."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    block = re.search(r"```python\n(.*?)```", section, re.S)
    assert block is not None
    defined: dict[str, Any] = {}
    exec(compile(block[1], f"docs/extending.md: {heading}", "exec"), defined)
    return defined


async def test_the_tool_of_the_docs_runs_and_is_found_again_after_a_crash() -> None:
    made = example("Add a tool")
    model = ScriptedModel(call("order", dish="Soup", count=0), call("order", dish="Soup"), "Done.")
    run = await run_agent(made["waiter"], "A soup, please.", model=model)
    assert [each.outcome.status for each in run.calls] == ["error", "ok"]
    assert run.calls[1].outcome.text == "Ordered 1 x Soup."
    context = Context(
        key="turn:1:call", person=Person("p"), session=SessionInfo("s"), notes=MemoryNotes()
    )
    await made["order"](context, "Bread", 2)
    found = await verify(made["order"], "turn:1:call")
    assert found is not None and (found.status, found.text) == ("ok", "2 x Bread")
    assert await verify(made["order"], "turn:2:call") is None


async def test_the_provider_of_the_docs_answers_every_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROVIDERS, "openai", example("Add a provider's wire")["EchoProvider"])
    ask = {
        "model": "fast",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "good morning"}],
    }
    async with gateway_server(tmp_path) as gateway:
        chat = (await gateway.post("/v1/chat/completions", ask)).json()
        message = (await gateway.post("/v1/messages", ask)).json()
    assert chat["choices"][0]["message"]["content"] == "good morning"
    assert message["content"][0]["text"] == "good morning"
    assert message["usage"]["output_tokens"] == 2


async def test_the_migration_of_the_docs_carries_old_rows_over(empty_database_url: str) -> None:
    made = example("Add a migration")

    def run(connection: Connection) -> list[bool]:
        insert = (
            "INSERT INTO conversations (id, key, channel, account, chat, thread, agent, title,"
            " settings, inbox_sequence, turn_count, created_at) VALUES"
            " (:id, :id, 'telegram', '1', :id, '', 'a', :title, '{}', 0, 0, 0)"
        )
        for id, title in (("1", "muted: Ada"), ("2", "Ada")):
            connection.execute(text(insert), {"id": id, "title": title})
        with Operations.context(MigrationContext.configure(connection)):
            made["upgrade"]()
            rows = connection.execute(text("SELECT is_muted FROM conversations ORDER BY id"))
            muted = [bool(row[0]) for row in rows]
            made["downgrade"]()
        columns = {column["name"] for column in inspect(connection).get_columns("conversations")}
        assert "is_muted" not in columns
        return muted

    engine = create_engine(normalise(empty_database_url), migrating=True)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate.upgrade)
            assert await connection.run_sync(run) == [True, False]
    finally:
        await engine.dispose()
    assert made["down_revision"] <= HEAD
