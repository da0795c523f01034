"""Agents and tools, schedules and flows: what they show, who may act, and what an act does."""

import pytest
from sqlalchemy import update

from roost_platform.db import models
from roost_platform.db.stores import Stores
from roost_platform.testing.console.reader import Reader
from roost_platform.testing.console.workflows import BEFORE, CONCIERGE, add_workflows
from roost_workflows.definitions.versions import version_of

TURN = "SELECT state FROM turns WHERE id = :id"


@pytest.fixture
def ids(reader: Reader) -> dict[str, str]:
    return reader.server.run(add_workflows(reader.server.stores, reader.now))


def as_(reader: Reader, role: str) -> None:
    cookie = reader.server.sign_in_cookie(f"The {role}", role)
    reader.http.cookies.set(cookie["name"], cookie["value"])


def audited(reader: Reader) -> list[str]:
    return [row.action for row in reader.server.run(reader.server.stores.audit.list())]


def test_an_agent_shows_what_is_declared_and_what_is_in_force(
    reader: Reader, ids: dict[str, str]
) -> None:
    shown = reader.json("/tools/concierge.json")["section"]["agent"]
    assert {
        tool["name"]: (tool["effect"], tool["approval"], tool["verdict"]) for tool in shown["tools"]
    } == {
        "look_up": ("pure", None, "allow"),
        "book": ("unsafe", "ask", "ask"),
        "send_money": ("unsafe", None, "ask"),
    }
    page = reader.page("/tools/concierge").by_id["agent"]
    for words in ("You help guests.", "Switch off", "send_money", "at most 8", "and 1 narrower"):
        assert words in page, words
    old, new = version_of(BEFORE).digest, version_of(CONCIERGE).digest
    diff = reader.page(f"/tools/concierge?before={old}&after={new}").by_id["diff"]
    assert "added tool send_money" in diff and "removed Be kind." in diff
    for query in ("before=x&after=y", "before=&after="):
        assert "diff" not in reader.page(f"/tools/concierge?{query}").by_id
    assert reader.http.get("/tools/nobody").status_code == 404
    listed = {one["name"]: len(one["versions"]) for one in reader.json("/tools.json")["agents"]}
    assert listed == {"concierge": 2, "cook": 1}


def test_switching_an_agent_off_stops_what_runs_and_on_lets_messages_through(
    reader: Reader, ids: dict[str, str]
) -> None:
    said = reader.server.run(reader.server.intake.say("one", "Hello?"))
    turn = reader.server.run(reader.server.stores.turns.begin(said.conversation_id))
    switch = "/tools/concierge/switch"
    done = reader.http.post(switch, data={"to": "off", "tool": ""}, follow_redirects=True)
    assert "The agent concierge is off. Stopping 1 turn." in done.text
    assert "Switched off" in reader.page("/tools").by_id["agent-cards"]
    assert "Switched off" in reader.page("/tools/concierge").by_id["agent"]
    stop = "SELECT stop_requested_at FROM turns WHERE id = :id"
    assert reader.sql(stop, id=getattr(turn, "turn_id", "")) is not None
    other = reader.server.run(reader.server.intake.say("two", "Are you there?"))
    assert reader.server.run(reader.server.stores.turns.begin(other.conversation_id)) is None
    assert (
        "Message waits" in reader.page(f"/sessions/{other.conversation_id}").by_id["session-head"]
    )
    notice = "SELECT text FROM outbox WHERE conversation_id = :id"
    assert "is switched off" in reader.sql(notice, id=other.conversation_id)
    reader.server.run(reader.server.intake.drain())
    reader.server.doorbell.rings.clear()
    assert reader.http.post(switch, data={"to": "on"}).status_code == 303
    reader.server.run(reader.server.intake.drain())
    assert other.conversation_id in reader.server.doorbell.rings
    assert reader.http.post(switch, data={"to": "on"}).status_code == 422
    assert audited(reader).count("policy.set") == 3 and "policy.remove" in audited(reader)


def test_a_tool_is_switched_and_policies_are_for_admins(
    reader: Reader, ids: dict[str, str]
) -> None:
    def verdicts() -> dict[str, str]:
        tools = reader.json("/tools/concierge.json")["section"]["agent"]["tools"]
        return {tool["name"]: tool["verdict"] for tool in tools}

    switch, policies = "/tools/concierge/switch", "/tools/concierge/policies"
    assert reader.http.post(switch, data={"to": "off", "tool": "look_up"}).status_code == 303
    assert verdicts()["look_up"] == "off"
    assert reader.http.post(switch, data={"to": "on", "tool": "look_up"}).status_code == 303
    assert verdicts()["look_up"] == "allow"
    body = {"tool": "book", "channel": "telegram", "person": ids["ana"], "verdict": "allow"}
    assert reader.http.post(policies, data=body).status_code == 303
    assert "Ana Schedules" in reader.page("/tools").by_id["policy-list"]
    for wrong in (
        {**body, "person": "nobody"},
        {**body, "verdict": "maybe"},
        {**body, "tool": "x" * 300},
        {},
    ):
        assert reader.http.post(policies, data=wrong).status_code == 422, wrong
    (id,) = [
        one["policy"]["id"]
        for one in reader.json("/tools.json")["policies"]
        if one["policy"]["person_id"]
    ]
    as_(reader, "operator")
    assert "/policies" not in reader.http.get("/tools/concierge").text
    assert reader.http.post(policies, data=body).status_code == 403
    assert reader.http.post(f"/tools/policies/{id}/remove").status_code == 403
    assert reader.http.post(switch, data={"to": "off", "tool": "book"}).status_code == 303
    as_(reader, "viewer")
    for path in ("/tools", "/tools/concierge", "/tools.json"):
        assert reader.http.get(path).status_code == 403
    assert reader.http.post(switch, data={"to": "on", "tool": "book"}).status_code == 403


def test_each_schedule_has_one_state_and_offers_what_works(
    reader: Reader, ids: dict[str, str]
) -> None:
    words = {"active": "Active", "paused": "Paused", "done": "Done", "deleted": "Deleted"}
    for state, word in words.items():
        href = f"/schedules/{ids[f'schedule-{state}']}"
        assert reader.page(f"/schedules?state={state}").row_of(href).text.startswith(word)
        page = reader.page(href).by_id["schedule"]
        for words_of in ("late, and says so", "Skipped", "missed", "2 h 20 min", "Europe/Rome"):
            assert words_of in page, (state, words_of)
    active, paused = ids["schedule-active"], ids["schedule-paused"]
    detail = reader.json(f"/schedules/{active}.json")["detail"]
    assert len(detail["next_times"]) == 5 == len(detail["next_words"])
    for id, action, state in (
        (active, "pause", "paused"),
        (active, "resume", "active"),
        (active, "run", "active"),
        (paused, "resume", "active"),
        (active, "delete", "deleted"),
    ):
        assert f'action="/schedules/{id}/{action}"' in reader.http.get(f"/schedules/{id}").text
        assert reader.http.post(f"/schedules/{id}/{action}").status_code == 303, action
        assert reader.sql("SELECT state FROM schedules WHERE id = :id", id=id) == state
        assert f"schedule.{action}" in audited(reader)
    for action, status in (("run", 422), ("explode", 404)):
        assert reader.http.post(f"/schedules/{active}/{action}").status_code == status
    assert f'action="/schedules/{active}/' not in reader.http.get(f"/schedules/{active}").text
    assert reader.http.get("/schedules/nothing").status_code == 404
    as_(reader, "viewer")
    for path in ("/schedules", f"/schedules/{active}"):
        assert reader.http.get(path).status_code == 403


@pytest.mark.parametrize(
    "month", ["2027-02", "2028-02", "9999-12", "2027-13", "x", "-1", "²-³", ""]
)
def test_a_month_shows_its_days_and_an_odd_one_is_this_month(
    reader: Reader, ids: dict[str, str], month: str
) -> None:
    calendar = reader.page(f"/schedules?month={month}").by_id["calendar"]
    if month in ("2027-02", "2028-02"):
        assert f"February {month[:4]}" in calendar
        assert calendar.count("09:00 Water the plants (active).") == (28 if "7" in month else 35)


def test_a_flow_is_a_timeline_of_its_journal(reader: Reader, ids: dict[str, str]) -> None:
    listed = reader.page("/flows")
    for state, word in (("waiting", "Waits for an answer"), ("done", "Done"), ("failed", "Failed")):
        href = f"/flows/{ids[f'flow-{state}']}"
        assert listed.row_of(href).text.startswith(word)
        assert reader.page(f"/flows?state={state}").row_of(href)
        page = reader.page(href).by_id["flow"]
        for words in ("by Ana", "generate(", "branch 2", "3 tries", "Which one?", word):
            assert words in page, (state, words)
        assert ("Stop" in page.split()) == (state == "waiting")
        assert ("ValueError: no such day" in page) == (state == "failed")
    assert "flow.read" in audited(reader)
    assert reader.http.get("/flows/nothing").status_code == 404
    as_(reader, "viewer")
    for state in ("waiting", "failed"):
        text = reader.http.get(f"/flows/{ids[f'flow-{state}']}").text
        for words in ("Which one?", "Compare three", "result 0", "ValueError", "lamp"):
            assert words not in text, words


async def answer_in_chats(stores: Stores, agent: str) -> None:
    async with stores.database.write() as session:
        await session.execute(update(models.Conversation).values(agent=agent))


def test_a_failed_flow_is_tried_again_and_forked_from_its_page(
    reader: Reader, ids: dict[str, str]
) -> None:
    failed, waiting = ids["flow-failed"], ids["flow-waiting"]
    reader.server.run(answer_in_chats(reader.server.stores, "purchase"))
    page = reader.http.get(f"/flows/{failed}").text
    assert f'action="/flows/{failed}/retry"' in page and "Fork from step 2" in page
    for id in (waiting, ids["flow-done"]):
        shown = reader.http.get(f"/flows/{id}").text
        assert f'action="/flows/{id}/retry"' not in shown
        assert ("Fork from step 2" in shown) == (id != waiting)
        assert reader.http.post(f"/flows/{id}/retry").status_code == 422
    for at in ("", "x", "-1", "²", "99", "0"):
        assert reader.http.post(f"/flows/{failed}/fork", data={"at": at}).status_code == 422, at
    assert reader.http.post("/flows/nothing/fork", data={"at": "1"}).status_code == 404
    done = reader.http.post(f"/flows/{failed}/fork", data={"at": "2"}, follow_redirects=True)
    assert "A new run began with 1 results of this one" in done.text
    new = reader.sql("SELECT turn_id FROM flows WHERE forked_from = :id", id=failed)
    assert f'href="/flows/{new}"' in reader.http.get(f"/flows/{failed}").text
    forked = reader.page(f"/flows/{new}").by_id["flow"]
    assert "from an earlier run" in forked and "at its step 2" in forked
    # The newer run is the last word in the chat now.
    refused = reader.http.post(f"/flows/{failed}/retry", follow_redirects=True)
    assert refused.status_code == 422 and "newer turn" in refused.text
    assert "flow.fork" in audited(reader)
    as_(reader, "viewer")
    for path in (f"/flows/{failed}/retry", f"/flows/{failed}/fork"):
        assert reader.http.post(path, data={"at": "2"}).status_code == 403
    assert "Fork from step" not in reader.http.get(f"/flows/{failed}").text


def test_a_failed_turn_is_tried_again_from_the_session_page(reader: Reader) -> None:
    said = reader.server.run(reader.server.intake.say("again", "Hello?"))
    turns = reader.server.stores.turns
    turn = reader.server.run(turns.begin(said.conversation_id))
    id = getattr(turn, "turn_id", "")
    reader.server.run(turns.settle(id, outcome="failed", reason="engine_failed"))
    path = f"/sessions/{said.conversation_id}/retry"
    assert f'action="{path}"' in reader.http.get(f"/sessions/{said.conversation_id}").text
    done = reader.http.post(path, data={"turn": id}, follow_redirects=True)
    assert "What it has done is not done again" in done.text
    assert "Tried again 1 time." in reader.http.get(f"/sessions/{said.conversation_id}").text
    assert reader.sql(TURN, id=id) == "running" and "turn.retry" in audited(reader)
    assert reader.http.post(path, data={"turn": id}).status_code == 422
    assert reader.http.post(path, data={"turn": "nothing"}).status_code == 404
    as_(reader, "viewer")
    assert reader.http.post(path, data={"turn": id}).status_code == 403
