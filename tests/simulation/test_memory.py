"""Reads that are told again from memory differ in nothing from reads that are asked again."""

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import bindparam, create_engine, insert, select, update
from sqlalchemy.engine import Connection, Result
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from roost_platform.chaos.sim.memory import Memory, NotingConnection
from roost_platform.chaos.sim.plan import draw
from roost_platform.chaos.sim.schedule import simulate
from roost_platform.db import models

STATES = select(models.ChannelState.state).where(
    models.ChannelState.account == bindparam("account")
)
ROW = {"channel": "telegram", "account": "7", "state": "up", "detail": "", "updated_at": 0.0}


@pytest.fixture
def connection() -> Iterator[Connection]:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(":memory:", isolation_level=None, factory=NotingConnection)

    engine = create_engine("sqlite://", poolclass=StaticPool, creator=connect)
    models.Base.metadata.create_all(engine)
    with engine.connect() as opened:
        yield opened


def test_a_read_is_told_again_until_one_of_its_tables_is_written(connection: Connection) -> None:
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, NotingConnection)
    memory, asked = Memory(raw), []

    def states(account: str) -> list[str]:
        with Session(connection) as session:
            return list(memory.ask(session, STATES, {"account": account}).scalars())

    raw.set_trace_callback(lambda sql: asked.append(sql) if sql.startswith("SELECT") else None)
    assert states("7") == [] == states("7")
    assert len(asked) == 1
    connection.execute(insert(models.ChannelState).values(**ROW))
    assert states("7") == ["up"] == states("7")
    assert len(asked) == 2
    connection.execute(update(models.ChannelState).values(state="down"))
    assert states("8") == [] and states("7") == ["down"]
    asked.clear()
    connection.execute(update(models.Outbox).values(state="sent"))
    assert states("7") == ["down"] and not asked


@pytest.mark.parametrize("seed", [9, 21])
def test_a_schedule_without_memory_goes_the_same(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def course() -> object:
        outcome = simulate(draw(seed))
        shown = [(message.place, message.text) for message in outcome.record.shown]
        return shown, outcome.points, outcome.calls, outcome.took_s

    def ask(_: Memory, session: Session, statement: Any, parameters: Any) -> Result[Any]:
        return session.execute(statement, parameters)

    remembering = course()
    monkeypatch.setattr(Memory, "ask", ask)
    assert course() == remembering
