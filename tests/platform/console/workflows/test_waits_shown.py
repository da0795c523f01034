"""What waits is shown as what it is: whom a turn waits for, and what operators have to decide."""

from typing import Any

import pytest

from roost_platform.testing.console.page_text import PageText
from roost_platform.testing.console.reader import Reader
from roost_platform.testing.console.waits import ENDED, WAITS, Waiting, add_waits
from roost_platform.views.states import STATES

BEAT = (
    "INSERT INTO service_heartbeats (service, pid, version, started_at, seen_at, detail)"
    " VALUES (:name, 1, '1', :now, :now, '{}')"
)
OPEN = "SELECT count(*) FROM approvals WHERE state = 'pending' AND kind = 'approve'"
FOR_OPERATORS = f"{OPEN} AND rule IN ('operator', 'another')"
OUTCOMES = {
    "approved": "Approved",
    "denied": "Denied",
    "answered": "Answered",
    "expired": "Expired",
    "cancelled": "Cancelled",
    "stale": "Void",
    "unreachable": "Nobody reached",
}
OTHERS = ("Idle", "Working", "Thinking", "Queued", "Message waits", "Using a tool")


@pytest.fixture
def made(reader: Reader) -> Waiting:
    return reader.server.run(add_waits(reader.server.stores, reader.now))


def label(name: str) -> str:
    case = WAITS[name]
    return f"Waits for {case.whom}" if case.whom else "About to go on"


def test_a_waiting_turn_says_for_whom_on_every_page(reader: Reader, made: Waiting) -> None:
    listed, overview = reader.page("/sessions"), reader.page("/")
    shown_in = {
        state: {row["id"] for row in reader.json(f"/sessions.json?state={state}")["list"]["rows"]}
        for state in STATES
    }
    for name, case in WAITS.items():
        id = made.chats[name]
        page = reader.page(f"/sessions/{id}")
        head = page.by_id["session-head"]
        assert f" {label(name)} " in f" {head} ", name
        assert "Stop" in head.split(), name
        for row in (listed.row_of(f"/sessions/{id}"), overview.row_of(f"/sessions/{id}")):
            assert row.text.startswith(label(name)), name
            assert not any(word in row.text for word in OTHERS), name
        assert f"/sessions/{id}" in links_of(overview, "Waits for", "About to go on"), name
        assert {state for state in STATES if id in shown_in[state]} == {"waiting"}, name
        work = page.by_id.get("work-title", "")
        assert bool(work) == bool(case.calls), name
        assert page.by_id["now"].count("waiting") >= case.pending, name
    count = reader.sql("SELECT count(*) FROM turns WHERE state = 'waiting'")
    assert count == len(WAITS) == reader.json("/overview.json")["waiting"]["count"]


def links_of(page: PageText, *beginnings: str) -> set[str]:
    return {link for row in page.rows if row.text.startswith(beginnings) for link in row.links}


def test_a_session_names_each_wait_with_its_end_and_each_agent_with_its_state(
    reader: Reader, made: Waiting
) -> None:
    work = reader.json(f"/sessions/{made.chats['all']}.json")["work"]
    assert [(one["kind"], one["whom"]) for one in work["waits"]] == [
        ("approval", "an operator"),
        ("child", "the agent cook"),
        ("sleep", "a time"),
    ]
    (child,) = work["children"]
    assert (child["id"], child["agent"]) == (made.children["all"], "cook")
    assert child["state"]["word"] == "tool" and child["is_waited"]
    page = reader.page(f"/sessions/{made.chats['all']}").by_id["work"]
    for words in ("Approval: book", "Sleeps: book", "cook waited for", "Using a tool", "Stop all"):
        assert words in page, words
    listed = {row["id"] for row in reader.json("/sessions.json")["list"]["rows"]}
    assert not listed & set(made.children.values()), "an agent's own conversation is no chat"
    own = reader.page(f"/sessions/{made.children['all']}").by_id["session-head"]
    assert "works for a chat" in own and "Using a tool" in own


def test_one_agent_is_stopped_by_itself_and_all_with_their_chat(
    reader: Reader, made: Waiting
) -> None:
    chat, child = made.chats["child"], made.children["child"]
    assert f'action="/sessions/{child}/stop"' in reader.http.get(f"/sessions/{chat}").text
    assert reader.http.post(f"/sessions/{child}/stop").status_code == 303
    assert "Stopping…" in reader.page(f"/sessions/{chat}").by_id["work"]
    assert reader.http.post(f"/sessions/{made.chats['all']}/stop").status_code == 303
    reader.server.run(reader.server.intake.drain())
    assert {child, made.children["all"]} <= set(reader.server.doorbell.stops)
    state = "SELECT state FROM turns WHERE conversation_id = :id"
    assert reader.sql(state, id=made.chats["all"]) == "stopped"
    gone = "SELECT count(*) FROM approvals WHERE state = 'pending' AND chat_id = :id"
    assert reader.sql(gone, id=made.chats["all"]) == 0


def test_the_badge_and_the_overview_count_what_operators_have_to_decide(reader: Reader) -> None:
    for name in ("worker", "courier", "web"):
        reader.change(BEAT, name=name, now=reader.now + 3600)

    def badge() -> str:
        page = reader.page("/")
        assert page.by_id["badge-approvals"] == reader.page("/people").by_id["badge-approvals"]
        return page.by_id["badge-approvals"].partition(" ")[0]

    assert badge() == "" and "Nothing to do" in reader.page("/").by_id["attention"]
    made = reader.server.run(add_waits(reader.server.stores, reader.now))
    left = reader.sql(FOR_OPERATORS)
    assert left == sum(case.operator for case in WAITS.values())
    for name in [name for name, case in WAITS.items() if case.operator]:
        assert badge() == str(left)
        attention = reader.page("/").by_id["attention"]
        assert "concierge wants to run book for Ana" in attention
        assert "Nothing to do" not in attention
        (id,) = ids_of(reader, made.chats[name])
        assert reader.http.post(f"/approvals/{id}/decide", data={"verdict": "deny"}).is_redirect
        left -= 1
    assert reader.sql(OPEN) > 0, "what people decide themselves is no work for operators"
    assert badge() == "" and "Nothing to do" in reader.page("/").by_id["attention"]


def ids_of(reader: Reader, chat: str) -> list[Any]:
    rows = reader.json("/approvals.json")["queue"]["rows"]
    return [row["id"] for row in rows if row["chat_id"] == chat and row["rule"] != "requester"]


def test_every_question_has_one_state_and_offers_what_works(reader: Reader, made: Waiting) -> None:
    page = reader.page("/approvals")
    queue = reader.json("/approvals.json")["queue"]
    assert queue["count"] == reader.sql("SELECT count(*) FROM approvals WHERE state = 'pending'")
    order = [row["rule"] != "requester" for row in queue["rows"]]
    assert order == sorted(order, reverse=True), "what only operators decide comes first"
    for state in ENDED:
        href = f"/approvals/{made.approvals[state]}"
        assert page.row_of(href).text.startswith(OUTCOMES[state])
        narrowed = reader.json(f"/approvals.json?state={state}")["history"]["rows"]
        assert [row["id"] for row in narrowed] == [made.approvals[state]]
        assert OUTCOMES[state] in reader.page(href).by_id["approval"]
    for row in [*queue["rows"], *reader.json("/approvals.json")["history"]["rows"]]:
        path = f"/approvals/{row['id']}"
        is_offered = f'action="{path}/decide"' in reader.http.get(path).text
        assert is_offered == (row["state"] == "pending" and row["kind"] == "approve"), row
        answer = reader.http.post(f"{path}/decide", data={"verdict": "approve"})
        assert answer.status_code == (303 if is_offered else 422), row
        now = reader.json(f"{path}.json")["section"]["approval"]["state"]
        assert now == ("approved" if is_offered else row["state"])
