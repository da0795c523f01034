"""Approvals by the API: who sees what, whose verdict counts, and what the command line shows."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from roost.waits import Ask, Question
from roost_channels.message import Address, Sender
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import Stores, open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.api_server import ApiServer, api_server
from roost_platform.testing.chats import DoorbellLog, Person
from roost_platform.testing.command_line import FakeStack, roost, serving
from roost_platform.testing.waiting import Parked, booking, waiting


@pytest.fixture
async def stores(database_url: str) -> AsyncIterator[Stores]:
    opened = open_stores(database_url, policies={("telegram", "42"): AccessPolicy("open")})
    yield opened
    await opened.close()


@pytest.fixture
async def server(stores: Stores, tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(stores, tmp_path) as opened:
        yield opened


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeStack]:
    with serving(tmp_path) as stack:
        yield stack


def person(server: ApiServer, chat: str = "900", name: str = "Ada") -> Person:
    bell = DoorbellLog()
    intake = PlatformIntake(server.stores, bell)
    return Person(server.stores, intake, bell, Address("telegram", "42", chat), Sender(chat, name))


def client(server: ApiServer, role: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=server.url, headers=server.as_(role), trust_env=False)


async def asked(server: ApiServer) -> tuple[Parked, str]:
    parked = await booking(person(server))
    return parked, (await parked.approval()).id


async def test_a_viewer_sees_what_waits_without_its_words_and_decides_nothing(
    server: ApiServer,
) -> None:
    _, id = await asked(server)
    async with client(server, "viewer") as http:
        (row,) = (await http.get("/api/approvals")).json()["approvals"]
        assert (row["id"], row["tool"], row["state"]) == (id, "book", "pending")
        assert "Friday" not in json.dumps(row)
        assert "Friday" not in (await http.get(f"/api/approvals/{id}")).text
        refused = await http.post(f"/api/approvals/{id}", json={"verdict": "approve"})
        assert refused.status_code == 403
    async with client(server, "operator") as http:
        (row,) = (await http.get("/api/approvals")).json()["approvals"]
        assert json.loads(row["arguments"]) == {"day": "Friday"}
        assert row["requester"] == "Ada" and row["session"] == "telegram:42:900"
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as http:
        assert (await http.get("/api/approvals")).status_code == 401


@pytest.mark.parametrize(("verdict", "state"), [("approve", "approved"), ("deny", "denied")])
async def test_the_first_verdict_counts_and_later_ones_are_told_it(
    server: ApiServer, verdict: str, state: str
) -> None:
    parked, id = await asked(server)
    async with client(server, "operator") as http:
        body = {"verdict": verdict, "reason": "As agreed."}
        done = await http.post(f"/api/approvals/{id}", json=body)
        assert (done.status_code, done.json()) == (200, {"id": id, "state": state})
        assert await parked.calls() == {"c0": "ready"}
        for again in ("approve", "deny"):
            late = await http.post(f"/api/approvals/{id}", json={"verdict": again})
            assert late.status_code == 409
            assert state.capitalize() in late.json()["detail"], late.text
        assert (await http.get("/api/approvals")).json() == {"total": 0, "approvals": []}
        for narrowed, count in ((state, 1), ("decided", 1), ("expired", 0)):
            listed = (await http.get("/api/approvals", params={"state": narrowed})).json()
            assert listed["total"] == count, narrowed
        (row,) = (await http.get("/api/approvals", params={"state": state})).json()["approvals"]
        assert (row["reason"], row["decided_by"], row["decided_via"]) == (
            *("As agreed.", "operator"),
            "api",
        )
    trail = [(one.action, one.object) for one in await server.stores.audit.list()]
    assert trail.count((f"approval.{verdict}", id)) == 1


async def test_lists_are_narrowed_by_tool_and_agent_and_odd_requests_are_refused(
    server: ApiServer,
) -> None:
    _, id = await asked(server)
    async with client(server, "operator") as http:
        for text, count in (("BOO", 1), ("concierge", 1), ("%", 0), ("pay", 0)):
            listed = (await http.get("/api/approvals", params={"text": text})).json()
            assert listed["total"] == count, text
        for query in ({"state": "maybe"}, {"page": 0}, {"text": "x" * 300}):
            assert (await http.get("/api/approvals", params=query)).status_code == 422, query
        path = f"/api/approvals/{id}"
        for body in ({}, {"verdict": "always"}, {"verdict": "approve", "reason": "x" * 2000}):
            assert (await http.post(path, json=body)).status_code == 422, body
        unknown = await http.post("/api/approvals/nothing-here", json={"verdict": "deny"})
        assert unknown.status_code == 404


async def test_a_short_id_is_enough_where_it_is_one_questions_alone(server: ApiServer) -> None:
    parked, id = await asked(server)
    other = await booking(person(server, "901", "Bob"))
    await other.approval()
    async with client(server, "operator") as http:
        assert (await http.get(f"/api/approvals/{id[-8:]}")).json()["id"] == id
        assert (await http.get(f"/api/approvals/{id[:6]}")).status_code == 409, "both begin so"
        assert (await http.get(f"/api/approvals/{id[-3:]}")).status_code == 404
        assert (await http.get("/api/approvals/%25%25%25%25%25%25")).status_code == 404
        done = await http.post(f"/api/approvals/{id[-8:]}", json={"verdict": "deny"})
        assert done.json() == {"id": id, "state": "denied"}
    assert await parked.calls() == {"c0": "ready"}
    assert await other.calls() == {"c0": "waiting"}


FORM = (Question("Which day?", ("Friday", "Monday"), free_text=False), Question("For whom?"))


async def test_an_operator_answers_a_question_in_the_persons_place(server: ApiServer) -> None:
    parked = await waiting(person(server), Ask(FORM))
    id = (await parked.approval()).id
    async with client(server, "operator") as http:
        (row,) = (await http.get("/api/approvals")).json()["approvals"]
        assert (row["can_decide"], row["can_answer"]) == (False, True)
        assert (row["options"], row["free_text"]) == ([["Friday", "Monday"], []], [False, True])
        for body in (
            {"verdict": "approve"},
            {"verdict": "answer", "answers": []},
            {"verdict": "answer", "answers": ["Sunday", "Ana"]},
            {"verdict": "answer", "answers": ["Friday", "  "]},
        ):
            refused = await http.post(f"/api/approvals/{id}", json=body)
            assert refused.status_code == 409, body
        assert (await parked.approval()).state == "pending"
        body = {"verdict": "answer", "answers": ["friday", "Ana"]}
        assert (await http.post(f"/api/approvals/{id}", json=body)).json()["state"] == "answered"
        late = await http.post(f"/api/approvals/{id}", json=body)
        assert late.status_code == 409 and "Answered by operator " in late.json()["detail"]
    kept = await parked.approval()
    assert (kept.answers, kept.decided_via) == (["Friday", "Ana"], "api")
    edit = (await parked.person.outbox())[-1][1]
    assert edit.startswith(f"Answered by {kept.decided_name} ") and "operator" in edit
    (entry,) = [row for row in await server.stores.audit.list() if row.action == "approval.answer"]
    assert entry.actor == kept.decided_by
    assert await parked.calls() == {"c0": "ready"}


async def test_the_persons_answer_wins_if_it_comes_first(server: ApiServer) -> None:
    parked = await waiting(person(server), Ask(FORM))
    id = (await parked.approval()).id
    await parked.taps("0.1")
    async with client(server, "operator") as http:
        both = {"verdict": "answer", "answers": ["Friday", "Ana"]}
        assert (await http.post(f"/api/approvals/{id}", json=both)).status_code == 409
        await parked.person.says("Eve")
        rest = {"verdict": "answer", "answers": ["Ana"]}
        late = await http.post(f"/api/approvals/{id}", json=rest)
        assert late.status_code == 409 and "Answered by Ada " in late.json()["detail"]
    assert (await parked.approval()).answers == ["Monday", "Eve"]


async def test_a_verdict_of_the_command_line_is_recorded_as_its(server: ApiServer) -> None:
    _, id = await asked(server)
    async with client(server, "operator") as http:
        body = {"verdict": "deny", "via": "cli"}
        assert (await http.post(f"/api/approvals/{id}", json=body)).status_code == 200
        (row,) = (await http.get("/api/approvals?state=denied")).json()["approvals"]
        assert row["decided_via"] == "cli"
        other = {"verdict": "deny", "via": "console"}
        assert (await http.post(f"/api/approvals/{id}", json=other)).status_code == 422
    (entry,) = [row for row in await server.stores.audit.list() if row.action == "approval.deny"]
    assert entry.detail["decided_via"] == "cli"


ROW = {
    "id": "0192f0c1-7d6e-7c2e-9b0a-3f5e8d1c2b4a",
    "kind": "approve",
    "state": "pending",
    "agent": "waiter",
    "tool": "book",
    "preview": "day: Friday",
    "arguments": '{"day": "Friday"}',
    "questions": [],
    "rule": "operator",
    "session": "telegram:42:900",
    "requester": "Ada",
    "created_at": 0.0,
    "expires_at": 0.0,
    "decided_at": None,
    "decided_by": "",
}


def test_the_command_line_lists_and_decides(fake: FakeStack) -> None:
    fake.answers["/api/approvals"] = {"total": 1, "approvals": [ROW]}
    _, line = roost("approvals", "list", data=fake.data).stdout.splitlines()
    cells = line.split("\t")
    assert cells[:7] == [
        *(ROW["id"], "pending", "waiter", "book", '{"day": "Friday"}'),
        *("telegram:42:900", "an operator"),
    ]
    shown = roost("approvals", "list", "--json", "--state", "denied", data=fake.data)
    assert json.loads(shown.stdout) == [ROW]
    assert fake.requests[-1][0] == "GET /api/approvals?page=1&state=denied"
    fake.refusal = (200, {"id": ROW["id"], "state": "denied"})
    done = roost("approvals", "deny", "3f5e8d1c2b4a", "--reason", "Too dear.", data=fake.data)
    assert done.stdout.strip() == f"{ROW['id']} is denied"
    request, _, body = fake.requests[-1]
    assert request == "POST /api/approvals/3f5e8d1c2b4a"
    assert json.loads(body) == {"verdict": "deny", "reason": "Too dear.", "via": "cli"}
    roost("approvals", "answer", "3f5e8d1c2b4a", "Friday", "two of us", data=fake.data)
    told = {"verdict": "answer", "answers": ["Friday", "two of us"], "via": "cli"}
    assert json.loads(fake.requests[-1][2]) == told
    fake.refusal = (409, {"detail": "This was decided before: Denied by Ana 14:03."})
    late = roost("approvals", "approve", "3f5e8d1c2b4a", data=fake.data)
    assert late.returncode == 1
    assert "This was decided before: Denied by Ana 14:03." in late.stderr
    fake.answers["/api/approvals"] = {"total": 0, "approvals": []}
    assert roost("approvals", "list", data=fake.data).stdout == "nothing waits for a decision\n"
