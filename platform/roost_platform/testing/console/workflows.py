"""Agents with two versions and policies, schedules in every state, and runs of flows."""

import json
from typing import Any

from roost import Agent, tool
from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.policies.switches import PolicyKey
from roost_platform.db.stores import Stores
from roost_platform.testing.console.day import writing
from roost_platform.testing.console.rows import call_row, conversation, turn_row
from roost_workflows.definitions.versions import version_of

DAY_S = 86_400.0


@tool(effect="pure")
def look_up(place: str) -> str:
    """Look up when a place opens."""
    return place


@tool(approval="ask", approver="operator")
def book(day: str, people: int) -> str:
    """Book a table."""
    return f"{day} {people}"


@tool(effect="unsafe")
def send_money(amount: int) -> str:
    """Send money."""
    return str(amount)


CONCIERGE = Agent("concierge", "You help guests.\nBe kind and short.", [look_up, book, send_money])
BEFORE = Agent("concierge", "You help guests.\nBe kind.", [look_up, book])
COOK = Agent("cook", "You plan menus.")


async def add_workflows(stores: Stores, now: float) -> dict[str, str]:
    """Agents, schedules and flows; returns ids: `schedule-STATE` and `flow-STATE`."""
    await stores.agent_versions.record([version_of(BEFORE)])
    await stores.agent_versions.record([version_of(CONCIERGE), version_of(COOK)])
    await stores.policies.set(PolicyKey(agent="concierge", tool="send_money"), "ask", "Grace")
    await stores.policies.set(
        PolicyKey(agent="concierge", tool="book", channel="whatsapp"), "deny", "Grace"
    )
    ids: dict[str, str] = {}
    async with writing(stores) as add:
        ana = models.Identity(id=new_id(), display_name="Ana Schedules", access="allowed")
        ana.created_at = now - 9000
        await add(ana)
        ids["ana"] = ana.id
        for at, state in enumerate(("active", "paused", "done", "deleted")):
            ids[f"schedule-{state}"] = await _schedule(add, state, at, ana.id, now)
        for state in ("waiting", "done", "failed"):
            ids[f"flow-{state}"] = await _flow(add, state, ana.id, now)
    return ids


async def _schedule(add: Any, state: str, at: int, owner: str, now: float) -> str:
    chat, _ = await conversation(add, "telegram", "42", f"schedules {state}", owner, 0, now)
    row = models.Schedule(id=new_id(), conversation_id=chat, key=state, owner_id=owner)
    row.agent, row.kind, row.text = "concierge", "reminder", f"Water the plants ({state})."
    row.spec, row.zone, row.missed, row.overlap = (
        {"cron": "0 9 * * *"},
        "Europe/Rome",
        "late",
        "skip",
    )
    row.options, row.state, row.created_by = {}, state, owner
    row.due_at = now + 3600 if state in ("active", "paused") else None
    row.fails, row.fail_code = (2, "engine_failed") if state == "paused" else (0, "")
    row.created_at = now - 5 * DAY_S
    await add(row)
    for number, became in enumerate(("done", "fired", "skipped", "failed")):
        one = models.Occurrence(id=new_id(), schedule_id=row.id, state=became)
        one.scheduled_for = one.fired_at = now - (number + 1) * DAY_S
        one.late_s = 8400.0 if became == "fired" else 0.0
        one.fired_at += one.late_s
        one.reason = {"skipped": "missed", "failed": "engine_failed"}.get(became, "")
        await add(one)
    return row.id


async def _flow(add: Any, state: str, person: str, now: float) -> str:
    chat, session = await conversation(add, "telegram", "42", f"flow {state}", person, 1, now - 600)
    took = None if state == "waiting" else 500.0
    turn = turn_row(chat, session, 1, state, now - 600, took)
    turn.agent, turn.waited_s = "purchase", 120.0
    turn.waiting_since = now - 100 if state == "waiting" else None
    turn.reason_code = "flow_failed" if state == "failed" else ""
    turn.error = "ValueError: no such day" if state == "failed" else ""
    await add(turn)
    flow = models.FlowRun(
        turn_id=turn.id, name="purchase", code_hash="c0de" * 8, input={"item": "lamp"}
    )
    flow.started_by, flow.advances, flow.created_at = person, 4, now - 600
    flow.result = "Bought." if state == "done" else ""
    flow.finished_at = turn.finished_at
    await add(flow)
    steps = [
        ("0", "generate", "Compare three lamps.", "ok"),
        ("1/0/0", "call", "look_up", "ok"),
        ("1/1/0", "call", "look_up", "ok"),
        ("2", "ask", "Which one?", {"waiting": "waiting", "failed": "ok"}.get(state, "ok")),
    ]
    for at, (path, op, name, became) in enumerate(steps):
        call = call_row(turn, at + 1, path, name, json.dumps({"q": at}), "pure", became, "")
        call.op, call.position = op, 0
        call.attempts = 3 if path == "1/1/0" else 1
        call.started_at = now - 590 + 60 * at
        call.finished_at = None if became == "waiting" else now - 560 + 60 * at
        call.wait = "question" if op == "ask" else ""
        call.result = "" if became == "waiting" else f"result {at}"
        if became == "waiting":
            call.started_at = None
        await add(call)
    return turn.id
