"""Deciding in the console: verdicts, reasons, standing approvals, roles, and the audit trail."""

import json

import pytest

from roost_platform.testing.console.reader import Reader
from roost_platform.testing.console.waits import Waiting, add_waits


@pytest.fixture
def made(reader: Reader) -> Waiting:
    return reader.server.run(add_waits(reader.server.stores, reader.now))


def audited(reader: Reader) -> list[str]:
    return [row.action for row in reader.server.run(reader.server.stores.audit.list())]


def test_a_verdict_goes_to_the_call_with_its_reason_and_rings_once(
    reader: Reader, made: Waiting
) -> None:
    id, chat = made.approvals["asks-operator"], made.chats["asks-operator"]
    body = {"verdict": "deny", "reason": "Not on <b>Fridays</b>."}
    assert reader.http.post(f"/approvals/{id}/decide", data=body).status_code == 303
    late = reader.http.post(f"/approvals/{id}/decide", data={"verdict": "approve", "reason": "x"})
    assert late.status_code == 422
    assert "This was decided before: Denied by Grace Hopper" in late.text
    reader.server.run(reader.server.intake.drain())
    assert reader.server.doorbell.rings == [chat]
    assert (
        reader.sql(
            "SELECT t.state FROM tool_calls t JOIN turns u ON u.id = t.turn_id"
            " WHERE u.conversation_id = :id",
            id=chat,
        )
        == "ready"
    )
    page = reader.http.get(f"/approvals/{id}").text
    assert "Not on &lt;b&gt;Fridays&lt;/b&gt;." in page and "Grace Hopper (console)" in page
    assert audited(reader).count("approval.deny") == 1
    assert "About to go on" in reader.page(f"/sessions/{chat}").by_id["session-head"]


@pytest.mark.parametrize(
    "body", [{}, {"verdict": "maybe"}, {"verdict": ""}, {"verdict": "deny", "reason": "x" * 1001}]
)
def test_an_odd_form_decides_nothing_and_keeps_what_was_typed(
    reader: Reader, made: Waiting, body: dict[str, str]
) -> None:
    id = made.approvals["asks-operator"]
    answer = reader.http.post(f"/approvals/{id}/decide", data={"reason": "kept", **body})
    assert answer.status_code == 422
    if "reason" not in body:
        assert 'value="kept"' in answer.text
    assert reader.json(f"/approvals/{id}.json")["section"]["approval"]["state"] == "pending"


def test_always_stands_for_its_person_only_and_is_revoked(reader: Reader, made: Waiting) -> None:
    def standing() -> list[str]:
        return [one["id"] for one in reader.json("/approvals.json")["grants"]]

    assert standing() == [made.grant]
    assert "Always, for 30 days Deny" in reader.page("/approvals").by_id["approval-queue"]
    for name, status in (("asks-operator", 422), ("question", 422), ("asks-ana", 303)):
        path = f"/approvals/{made.approvals[name]}"
        offered = 'value="always"' in reader.http.get(path).text
        answer = reader.http.post(f"{path}/decide", data={"verdict": "always"})
        assert (answer.status_code, offered) == (status, status == 303), name
    new, old = standing()
    assert old == made.grant
    assert "used 3 times" in reader.page("/approvals").by_id["grants"]
    for id in (new, old):
        assert reader.http.post(f"/approvals/grants/{id}/revoke").status_code == 303
        assert reader.http.post(f"/approvals/grants/{id}/revoke").status_code == 404
    assert standing() == [] and "None stands" in reader.page("/approvals").by_id["grants"]
    assert audited(reader).count("grant.revoke") == 2 and "grant.give" in audited(reader)


def test_arguments_stand_beside_those_of_the_last_decided_call(
    reader: Reader, made: Waiting
) -> None:
    beside = reader.json(f"/approvals/{made.approvals['asks-operator']}.json")["section"][
        "compared"
    ]
    assert (beside["id"], beside["state"]) == (made.approvals["denied"], "denied")
    rows = {row["name"]: (row["before"], row["now"]) for row in beside["rows"]}
    assert rows == {
        "day": ("Friday", "Friday"),
        "people": ("3", "4"),
        "name": ("Ana", "Ana"),
        "room": ("quiet", None),
    }
    first = reader.page(f"/approvals/{made.approvals['approved']}").by_id["approval"]
    assert "No earlier call of this tool was decided." in first


def test_a_viewer_reads_what_waits_without_words_and_decides_nothing(
    reader: Reader, made: Waiting
) -> None:
    cookie = reader.server.sign_in_cookie("A viewer", "viewer")
    reader.http.cookies.set(cookie["name"], cookie["value"])
    id = made.approvals["asks-operator"]
    for path in ("/approvals", "/approvals.json", f"/approvals/{id}", f"/approvals/{id}.json"):
        answer = reader.http.get(path)
        assert answer.status_code == 200
        for words in ("Friday", "Which day", "Too late", "On Friday", "nuts"):
            assert words not in answer.text, (path, words)
        assert "/decide" not in answer.text and "/revoke" not in answer.text
    for name in ("question", "all"):
        assert "Which day" not in json.dumps(reader.json(f"/sessions/{made.chats[name]}.json"))
        assert "nuts" not in json.dumps(reader.json(f"/sessions/{made.chats[name]}.json"))
    for path in (f"/approvals/{id}/decide", f"/approvals/grants/{made.grant}/revoke"):
        assert reader.http.post(path, data={"verdict": "approve"}).status_code == 403
    assert "approval.read" not in audited(reader)


def test_an_operator_answers_a_form_and_the_page_says_who(reader: Reader, made: Waiting) -> None:
    id = made.approvals["form"]
    page = reader.http.get("/approvals").text
    assert f'action="/approvals/{id}/answer"' in page and 'name="answer-1"' in page
    for body in ({}, {"answer-0": "Friday"}, {"answer-0": "Friday", "answer-1": " "}):
        refused = reader.http.post(f"/approvals/{id}/answer", data=body)
        assert refused.status_code == 422, body
    body = {"answer-0": "Friday", "answer-1": "Four"}
    assert reader.http.post(f"/approvals/{id}/answer", data=body).status_code == 303
    again = reader.http.post(f"/approvals/{id}/answer", data=body)
    assert again.status_code == 422 and "Answered by operator Grace Hopper" in again.text
    shown = reader.http.get(f"/approvals/{id}").text
    assert "operator Grace Hopper (console)" in shown and "Four" in shown
    assert audited(reader).count("approval.answer") == 1
    verdict = reader.http.post(f"/approvals/{made.approvals['asks-operator']}/answer", data=body)
    assert verdict.status_code == 422
