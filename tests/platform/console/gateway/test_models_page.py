"""The Models page: every target as it is, providers that answer or not, and the try button."""

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from roost_inference.errors import EngineUnavailable
from roost_platform.gateway.observing.trial import OUTPUT_TOKENS_MAX, QUESTION, TRIALS_MAX
from roost_platform.testing.console import ADMIN, ConsoleServer
from roost_platform.testing.console.gateway import QuietProvider, quiet_gateway
from roost_platform.testing.console.reader import Reader

AS_BROWSER = {"sec-fetch-site": "same-origin", "accept": "text/html"}


@pytest.fixture
def reader(database_url: str) -> Iterator[Reader]:
    with ConsoleServer(database_url, gateway=quiet_gateway).serving() as server:
        cookie = server.sign_in_cookie(ADMIN, "admin")
        with httpx2.Client(base_url=server.url, headers=AS_BROWSER) as http:
            http.cookies.set(cookie["name"], cookie["value"])
            yield Reader(server, http)


def gateway(reader: Reader) -> Any:
    return reader.server.console.deps.gateway


def provider(reader: Reader, name: str) -> QuietProvider:
    found = gateway(reader).serving.router.catalogue.providers[name]
    assert isinstance(found, QuietProvider)
    return found


def attempt(reader: Reader, model: str, target: str) -> httpx2.Response:
    return reader.http.post("/models/try", data={"model": model, "target": target})


def row_of(reader: Reader, text: str) -> str:
    [row] = [one for one in reader.page("/models").rows if one.text.startswith(text)]
    return row.text


def test_each_target_is_shown_as_it_is(reader: Reader) -> None:
    models = {one["name"]: one for one in reader.json("/models.json")["models"]}
    assert list(models) == ["fast", "best", "broken"]
    fast = {one["name"]: one for one in models["fast"]["targets"]}
    assert {name: round(one["share"], 2) for name, one in fast.items()} == {
        "roost/small": 0.2,
        "hosted/mini": 0.6,
        "hosted/nano": 0.2,
    }
    mini = fast["hosted/mini"]
    assert (mini["state"], mini["failures"], mini["in_flight"]) == ("up", 1, 2)
    assert mini["price"] == {"input": 0.25, "cached": 0.025, "output": 2.0}
    assert "1 failure in a row" in row_of(reader, "hosted/mini")
    assert "0.25 in, 0.025 cached, 2 out" in row_of(reader, "hosted/mini")
    assert "2 of 8" in row_of(reader, "hosted/mini")
    best = models["best"]["targets"]
    assert [(one["name"], one["order"], one["state"]) for one in best] == [
        ("hosted/large", 0, "up"),
        ("other/large", 1, "cooling"),
    ]
    assert "Too many requests" in best[1]["last_error"]
    assert 60 < best[1]["cooling_until"] - reader.now <= 121
    assert re.search(r"Cools down asked again in [12] min", row_of(reader, "other/large"))
    page = reader.page("/models")
    assert "No target answers" in page.by_id["model-3"]
    assert "No target answers" not in page.by_id["model-2"]
    assert "16 384 tokens of context" in page.by_id["model-1"]
    assert "Falls back to best" in page.by_id["model-1"]
    assert "too long go to fast" in page.by_id["model-2"]


def test_providers_are_shown_by_what_they_answer_and_asked_rarely(reader: Reader) -> None:
    said = {one["name"]: one for one in reader.json("/models.json")["providers"]}
    assert {name: one["state"] for name, one in said.items()} == {
        "roost": "up",
        "hosted": "up",
        "other": "refused",
    }
    assert (said["hosted"]["models"], said["hosted"]["in_flight"]) == (2, 2)
    assert said["hosted"]["server"] == "api.example.com"
    assert "engine_refused" in said["other"]["detail"]
    assert "Refuses us" in row_of(reader, "other ")
    provider(reader, "hosted").error = EngineUnavailable("It is gone")
    again = {one["name"]: one for one in reader.json("/models.json")["providers"]}
    assert again["hosted"]["state"] == "up"  # the next question is due in half a minute
    assert again["hosted"]["checked_at"] == said["hosted"]["checked_at"]


def test_a_try_asks_one_short_question_and_shows_what_came_of_it(reader: Reader) -> None:
    answer = attempt(reader, "fast", "hosted/mini")
    assert answer.status_code == 200
    assert "Hello, I am &lt;b&gt;here&lt;/b&gt;." in answer.text
    assert "12 in, 7 out" in answer.text
    [(model, body)] = provider(reader, "hosted").asked
    assert model == "mini"
    assert body["messages"] == [{"role": "user", "content": QUESTION}]
    assert body["max_tokens"] == OUTPUT_TOKENS_MAX
    [mini] = [
        one
        for one in reader.json("/models.json")["models"][0]["targets"]
        if one["name"] == "hosted/mini"
    ]
    assert mini["failures"] == 0  # its health has learnt from it
    row = "SELECT {} FROM gateway_calls"
    assert reader.sql(row.format("outcome")) == "ok"
    assert reader.sql(row.format("target")) == "hosted/mini"
    assert reader.sql(row.format("model")) == "fast"
    assert reader.sql(row.format("person")) == ADMIN
    assert reader.sql(row.format("input_tokens")) == 12
    # Of 0.25 and 2 dollars for a million tokens.
    assert reader.sql(row.format("cost_microusd")) == 12 * 0.25 + 7 * 2
    assert reader.sql("SELECT action FROM audit") == "target.try"


def test_a_try_reaches_a_target_that_cools_down_and_shows_its_error(reader: Reader) -> None:
    failed = attempt(reader, "broken", "other/gone")
    assert failed.status_code == 200
    assert "engine_refused" in failed.text and "The key is `not` good" in failed.text
    assert reader.sql("SELECT outcome FROM gateway_calls") == "failed"
    assert reader.sql("SELECT cost_microusd FROM gateway_calls") == 0
    provider(reader, "other").error = None
    assert "Answered" in attempt(reader, "broken", "other/gone").text
    assert "No target answers" not in reader.page("/models").by_id["model-3"]


def test_a_try_is_refused_beyond_its_bound_and_for_what_is_not_there(reader: Reader) -> None:
    assert attempt(reader, "fast", "hosted/large").status_code == 404
    assert attempt(reader, "nothing", "hosted/mini").status_code == 404
    gateway(reader).trials.running = TRIALS_MAX
    full = attempt(reader, "fast", "hosted/mini")
    assert full.status_code == 503 and "being tried already" in full.text
    assert provider(reader, "hosted").asked == []


def test_a_target_that_stalls_is_not_waited_for(reader: Reader) -> None:
    gateway(reader).trials.within_s = 0.1
    provider(reader, "hosted").stalls_s = 60.0
    late = attempt(reader, "fast", "hosted/nano")
    assert "provider_timeout" in late.text
    assert reader.sql("SELECT error_code FROM gateway_calls") == "provider_timeout"


def test_viewers_see_states_without_what_providers_say_and_cannot_try(reader: Reader) -> None:
    cookie = reader.server.sign_in_cookie("A viewer", "viewer")
    reader.http.cookies.set(cookie["name"], cookie["value"])
    text = reader.http.get("/models").text + reader.http.get("/models.json").text
    assert "not` good" not in text and "Too many requests" not in text
    assert "Cools down" in text and "/models/try" not in text
    assert attempt(reader, "fast", "hosted/mini").status_code == 403
    assert reader.http.get("/keys").status_code == 403
    assert reader.http.get("/usage").status_code == 200


def test_without_a_gateway_the_page_says_how_to_turn_it_on(sqlite_url: str) -> None:
    with ConsoleServer(sqlite_url).serving() as server:
        cookie = server.sign_in_cookie(ADMIN, "admin")
        with httpx2.Client(base_url=server.url, headers=AS_BROWSER) as http:
            http.cookies.set(cookie["name"], cookie["value"])
            assert "ROOST_GATEWAY__ENABLED" in http.get("/models").text
            assert attempt(Reader(server, http), "fast", "hosted/mini").status_code == 404
            assert http.get("/keys").status_code == http.get("/usage").status_code == 200
