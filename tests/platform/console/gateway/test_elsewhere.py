"""What other pages tell of the gateway: the Overview of models, a session of who answered."""

from collections.abc import Iterator

import httpx2
import pytest

from roost_platform.db import models
from roost_platform.testing.console import ADMIN, ConsoleServer
from roost_platform.testing.console.gateway import quiet_gateway
from roost_platform.testing.console.reader import Reader
from roost_platform.testing.console.states import add_sessions

AS_BROWSER = {"sec-fetch-site": "same-origin", "accept": "text/html"}


@pytest.fixture
def reader(database_url: str) -> Iterator[Reader]:
    with ConsoleServer(database_url, gateway=quiet_gateway).serving() as server:
        cookie = server.sign_in_cookie(ADMIN, "admin")
        with httpx2.Client(base_url=server.url, headers=AS_BROWSER) as http:
            http.cookies.set(cookie["name"], cookie["value"])
            yield Reader(server, http)


def test_the_overview_tells_of_a_model_that_no_target_answers(reader: Reader) -> None:
    watch = reader.server.console.deps.gateway
    assert watch is not None
    catalogue = watch.serving.router.catalogue
    assert "No target answers the model broken" in reader.page("/").by_id["attention"]
    target = catalogue.models["broken"].targets[0]
    target.health.cooling_until = 0.0
    assert "No target answers" not in reader.page("/").by_id["attention"]
    for one in catalogue.models["fast"].targets:
        one.health.cooling_until = one.health.clock() + 60
    # `fast` falls back to `best`, which still has a target.
    assert "No target answers" not in reader.page("/").by_id["attention"]
    for one in catalogue.models["best"].targets:
        one.health.cooling_until = one.health.clock() + 60
    shown = reader.page("/").by_id["attention"]
    assert "the model fast" in shown and "the model best" in shown


def test_a_session_shows_which_target_answered_which_step(reader: Reader) -> None:
    ids = reader.server.run(add_sessions(reader.server.stores, reader.now))
    conversation = ids["done"]
    session_id = reader.sql("SELECT session_id FROM conversations WHERE id = :id", id=conversation)
    turn_id = reader.sql("SELECT max(id) FROM turns WHERE session_id = :id", id=session_id)

    def step(number: int, at: float, model: str) -> models.TurnStep:
        return models.TurnStep(
            turn_id=turn_id,
            step=number,
            state="closed",
            finish="answer",
            text="",
            model=model,
            duration_s=2.0,
            started_at=at,
            created_at=at + 2,
        )

    def call(number: int, at: float, target: str, **values: object) -> models.GatewayCall:
        given = {"session": session_id, "agent": "concierge", "outcome": "ok", **values}
        return models.GatewayCall(
            id=f"call-{number}",
            owner="me",
            family="chat",
            model="fast",
            target=target,
            started_at=at,
            duration_ms=2000.0,
            **given,
        )

    begun = reader.now - 100

    async def store() -> None:
        async with reader.server.stores.database.write() as session:
            session.add_all(
                [
                    step(91, begun, "small"),
                    step(92, begun + 10, "gpt-5-2026"),
                    step(93, begun + 20, "small"),
                    step(94, begun + 30, "unrecorded"),
                    call(1, begun + 0.01, "roost/small"),
                    call(2, begun + 10.01, "openai/gpt-5"),
                    call(3, begun + 10.0, "roost/small", session="another session"),
                    call(4, begun + 10.0, "roost/small", key_id="a client's"),
                    call(5, begun + 10.0, "roost/small", outcome="failed"),
                    call(6, begun + 20.01, "roost/small"),
                ]
            )

    reader.server.run(store())
    turns = {one["id"]: one for one in reader.json(f"/sessions/{conversation}.json")["turns"]}
    assert turns[turn_id]["models"][-3:] == [
        "roost/small (steps 91, 93)",
        "openai/gpt-5 (gpt-5-2026) (step 92)",
        "unrecorded (step 94)",
    ]
    assert "openai/gpt-5 (gpt-5-2026)" in reader.page(f"/sessions/{conversation}").by_id["turns"]
