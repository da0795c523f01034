"""Pages for finding faults: who may see them, what they say, and what is audited."""

import io
import json
import zipfile
from collections.abc import Iterator

import httpx2
import pytest

from roost import Agent
from roost_channels.message import Address, InboundMessage, Sender
from roost_platform.testing.console import ConsoleServer
from roost_workflows.model_calls import Asked, Usage
from roost_workflows.ports import ModelCall, TurnRecord

AGENT = Agent("concierge", "You help kindly.")
ASKED = Asked(end=1, shortening=0, temperature=0.5, max_tokens=64, finish_reason="stop")


@pytest.fixture
def console(sqlite_url: str) -> Iterator[ConsoleServer]:
    options = {"find_agent": {"concierge": AGENT}.get, "agents": ("concierge", "other")}
    with ConsoleServer(sqlite_url, options=options).serving() as server:
        yield server


def as_(console: ConsoleServer, http: httpx2.Client, role: str) -> httpx2.Client:
    cookie = console.sign_in_cookie(f"The {role}", role)
    http.cookies.set(cookie["name"], cookie["value"])
    return http


async def begun(console: ConsoleServer, chat: str, text: str) -> TurnRecord:
    """A turn that runs, of a message in this chat of the console."""
    message = InboundMessage(
        address=Address("console", "local", chat),
        event_id=f"{chat}:1",
        message_id=f"m{chat}",
        sender=Sender(f"operator:{chat}", f"Ada {chat}"),
        text=text,
        sent_at=1.0,
    )
    await console.intake.accept("console", "local", [message])
    conversation_id = await console.stores.queries.conversation_id(f"console:local:{chat}")
    assert conversation_id is not None
    turn = await console.stores.turns.begin(conversation_id)
    assert isinstance(turn, TurnRecord)
    return turn


def audited(console: ConsoleServer, action: str) -> list[dict[str, object]]:
    rows = console.run(console.stores.audit.list(limit=50))
    return [dict(row.detail) for row in rows if row.action == action]


def test_a_step_opens_to_its_prompt_and_the_read_is_audited(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    turn = console.run(begun(console, "one", "hello there"))
    call = ModelCall(
        "answer", "Hi.", usage=Usage(80, 30, 5, 0.25), model="tiny-1", asked=ASKED, started_at=1.0
    )
    console.run(console.stores.turns.commit_step(turn.turn_id, 1, call))
    as_(console, http, "operator")
    path = f"/sessions/{turn.conversation_id}/turns/{turn.turn_id}/steps/1"
    assert f'href="{path}"' in http.get(f"/sessions/{turn.conversation_id}").text
    page = http.get(path).text
    for words in ("You help kindly.", "hello there", "tiny-1", "0.5", "64", "30 of them cached"):
        assert words in page
    request = json.loads(json.loads(http.get(f"{path}.json").text)["request"])
    assert [one["role"] for one in request["messages"]] == ["system", "user"]
    assert audited(console, "prompt.read") == [
        {"turn": 1, "step": 1, "as": "json", "via": "console"},
        {"turn": 1, "step": 1, "as": "page", "via": "console"},
    ]
    for wrong in ("0", "2", "x", "9" * 30):
        assert http.get(path[:-1] + wrong).status_code == 404


def test_viewers_neither_see_prompts_nor_search_nor_stop(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    turn = console.run(begun(console, "one", "hello"))
    as_(console, http, "viewer")
    assert "/steps/" not in http.get(f"/sessions/{turn.conversation_id}").text
    assert "Search messages" not in http.get("/sessions").text
    step = f"/sessions/{turn.conversation_id}/turns/{turn.turn_id}/steps/1"
    for path in (step, "/search?q=hello", "/sessions/stop"):
        assert http.get(path).status_code == 403, path
    assert http.post("/sessions/stop", data={"confirm": "yes"}).status_code == 403
    assert console.doorbell.stops == []


def test_a_search_shows_who_when_and_an_excerpt_and_keeps_its_words_out_of_the_audit(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    turn = console.run(begun(console, "one", "the <b>secret</b> harbour"))
    as_(console, http, "operator")
    page = http.get("/search", params={"q": "HARBOUR"}).text
    assert "the &lt;b&gt;secret&lt;/b&gt; <mark>harbour</mark>" in page
    assert "Ada one" in page and f"/sessions/{turn.conversation_id}?number=1" in page
    assert "Nothing found" in http.get("/search", params={"q": "zebra"}).text
    assert "Too short" in http.get("/search", params={"q": "z"}).text
    (entry,) = audited(console, "transcript.search")
    assert entry == {"characters": 7, "found": 1, "as": "page", "via": "console"}


def test_a_bulk_stop_wants_to_be_confirmed_and_stops_what_was_chosen(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    one = console.run(begun(console, "one", "hello"))
    two = console.run(begun(console, "two", "hello"))
    as_(console, http, "operator")
    assert "2 turns</strong> run" in http.get("/sessions/stop").text
    assert "Nothing runs there" in http.get("/sessions/stop", params={"agent": "other"}).text
    assert http.post("/sessions/stop", data={"agent": ""}).status_code == 422
    http.post("/sessions/stop", data={"confirm": "yes", "agent": "other"})
    assert console.doorbell.stops == []
    http.post("/sessions/stop", data={"confirm": "yes"})
    console.run(console.intake.drain())
    assert sorted(console.doorbell.stops) == sorted([one.conversation_id, two.conversation_id])
    stopped = [entry["stopped"] for entry in audited(console, "conversation.stop_many")]
    assert stopped == [2, 0] and len(audited(console, "conversation.stop")) == 2


def test_a_persons_data_is_for_admins_to_export_and_delete(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    async def stranger() -> str:
        message = InboundMessage(
            address=Address("telegram", "42", "900"),
            event_id="900:1",
            message_id="m1",
            sender=Sender("900", "Eve Canary", "eve"),
            text="let me in",
            sent_at=1.0,
        )
        await console.intake.accept("telegram", "42", [message])
        (person,) = await console.stores.people.list()
        return person.id

    id = console.run(stranger())
    as_(console, http, "operator")
    assert "/data" not in http.get("/people").text
    for path in (f"/people/{id}/data", f"/people/{id}/export"):
        assert http.get(path).status_code == 403
    assert http.post(f"/people/{id}/delete", data={"confirm": "yes"}).status_code == 403
    as_(console, http, "admin")
    assert f'href="/people/{id}/data"' in http.get("/people").text
    assert "1 private chat" in http.get(f"/people/{id}/data").text
    exported = http.get(f"/people/{id}/export")
    assert exported.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(exported.content)) as archive:
        assert b"Eve Canary" in archive.read("tables/identities.jsonl")
        assert b"let me in" in archive.read("tables/inbox.jsonl")
    assert http.post(f"/people/{id}/delete", data={}).status_code == 422
    assert http.post(f"/people/{id}/delete", data={"confirm": "yes"}).status_code == 303
    assert "Eve Canary" not in http.get("/people").text
    assert http.get(f"/people/{id}/data").status_code == 404
    assert http.get(f"/people/{id}/export").status_code == 404
    (gone,) = audited(console, "person.delete")
    assert gone["messages"] == 1 and "Eve" not in json.dumps(gone)
    assert len(audited(console, "person.export")) == 1
