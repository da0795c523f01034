"""Turns that wait in every way, what people decided before, and agents that work below a chat."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.stores import Stores
from roost_platform.testing.console.day import writing
from roost_platform.testing.console.rows import call_row, conversation, step_row, turn_row

ACCOUNT = "42"
HOUR_S = 3600.0
ARGUMENTS = {"day": "Friday", "people": 4, "name": "Ana"}


@dataclass(frozen=True, slots=True)
class WaitCase:
    """A chat whose turn waits. whom: what the console says that it waits for.

    calls: (kind of approval or wait, rule) of each call that waits: approve, ask, form, sleep,
    child. pending: messages that came meanwhile. operator: how many wait for an operator.
    """

    whom: str
    calls: Sequence[tuple[str, str]]
    pending: int = 0
    operator: int = 0
    state: str = "waiting"


WAITS: Mapping[str, WaitCase] = {
    "asks-ana": WaitCase("Ana", [("approve", "requester")]),
    "asks-operator": WaitCase("an operator", [("approve", "operator")], operator=1),
    "asks-another": WaitCase("somebody else", [("approve", "another")], operator=1),
    "question": WaitCase("Ana", [("ask", "requester")], pending=1),
    "form": WaitCase("Ana", [("form", "requester")]),
    "sleeps": WaitCase("a time", [("sleep", "")]),
    "child": WaitCase("the agent cook", [("child", "")]),
    "both": WaitCase(
        "Ana and an operator", [("approve", "requester"), ("approve", "operator")], 0, 1
    ),
    "all": WaitCase(
        "an operator, the agent cook and 1 more",
        [("approve", "operator"), ("sleep", ""), ("child", "")],
        2,
        1,
    ),
    "over": WaitCase("", []),
}
ENDED = ("approved", "denied", "answered", "expired", "cancelled", "stale", "unreachable")


@dataclass(slots=True)
class Waiting:
    """What was added: ids of chats by the name of their case, of approvals, and of children."""

    chats: dict[str, str] = field(default_factory=dict)
    approvals: dict[str, str] = field(default_factory=dict)
    children: dict[str, str] = field(default_factory=dict)
    grant: str = ""


async def add_waits(stores: Stores, now: float) -> Waiting:
    """A chat for each of WAITS, an approval in each state that is over, and a standing one."""
    made = Waiting()
    async with writing(stores) as add:
        ana = models.Identity(id=new_id(), display_name="Ana", access="allowed")
        ana.created_at = now - 9000
        await add(ana)
        for name, case in WAITS.items():
            made.chats[name] = await _parked(add, name, case, ana.id, made, now)
        await _history(add, ana.id, made, now)
    return made


async def _parked(
    add: Any, name: str, case: WaitCase, person: str, made: Waiting, now: float
) -> str:
    id, session = await conversation(add, "telegram", ACCOUNT, name, person, 1, now - 900)
    turn = turn_row(id, session, 1, case.state, now - 900, None)
    turn.waiting_since = now - 880
    await add(turn)
    await add(step_row(turn, 1, now - 899, ttft=0.2, took=1.0, tokens=9, state="open"))
    await add(
        models.RunProgress(
            turn_id=turn.id, conversation_id=id, phase="waiting", updated_at=now - 880
        )
    )
    for at, (kind, rule) in enumerate(case.calls):
        wait = {"ask": "question", "form": "question", "approve": "approval"}.get(kind, kind)
        call = call_row(turn, 1, f"c{at}", "book", json.dumps(ARGUMENTS), "unsafe", "waiting", "")
        call.position, call.wait, call.started_at, call.finished_at = at, wait, None, None
        call.due_at = now + HOUR_S if kind == "sleep" else None
        await add(call)
        if kind == "child":
            made.children[name] = await _child(add, id, turn, call, now)
        elif kind != "sleep":
            row = approval(turn, call, kind, rule, person, now - 880)
            await add(row)
            made.approvals[name] = row.id
    for at in range(case.pending):
        await add(_inbox(id, at + 30, name, now))
    return id


def approval(
    turn: models.Turn, call: models.ToolCall, kind: str, rule: str, person: str, at: float
) -> models.Approval:
    """An open question about a call."""
    texts = {"approve": [], "ask": ["Which day?"], "form": ["Which day?", "How many people?"]}[kind]
    return models.Approval(
        id=new_id(),
        conversation_id=turn.conversation_id,
        chat_id=turn.conversation_id,
        turn_id=turn.id,
        step=call.step,
        call_id=call.call_id,
        kind=kind,
        agent=turn.agent,
        tool="book" if kind == "approve" else "",
        tool_hash="tool-1",
        args_hash="args-1",
        arguments=call.arguments if kind == "approve" else "",
        preview="day: Friday\npeople: 4\nname: Ana" if kind == "approve" else "\n".join(texts),
        questions=[{"text": text, "options": [], "free_text": True} for text in texts],
        requester_id=person,
        rule=rule,
        state="pending",
        nonce=new_id(),
        code="abc",
        due_at=at + 12 * HOUR_S,
        created_at=at,
        expires_at=at + 24 * HOUR_S,
    )


async def _child(
    add: Any, parent: str, turn: models.Turn, call: models.ToolCall, now: float
) -> str:
    id, session = new_id(), new_id()
    key = f"child:{id}"
    child = models.Conversation(id=id, key=key, channel="child", account="", chat=id, agent="cook")
    child.session_id, child.created_at, child.turn_count = session, now - 870, 1
    child.kind, child.root_id, child.depth = "child", parent, 1
    await add(child)
    await add(
        models.Session(id=session, conversation_id=id, number=1, agent="cook", created_at=now - 870)
    )
    running = turn_row(id, session, 1, "running", now - 860, None)
    running.agent = "cook"
    await add(running)
    await add(
        models.RunProgress(turn_id=running.id, conversation_id=id, phase="tool", updated_at=now)
    )
    task = models.ChildTask(
        conversation_id=id, parent_id=parent, root_id=parent, parent_turn_id=turn.id
    )
    task.parent_step, task.parent_call_id = call.step, call.call_id
    task.agent, task.task, task.context = "cook", "Find a menu for four without nuts.", "brief"
    task.is_waited, task.state, task.created_at = True, "running", now - 870
    await add(task)
    return id


async def _history(add: Any, person: str, made: Waiting, now: float) -> None:
    id, session = await conversation(
        add, "telegram", ACCOUNT, "decided", person, len(ENDED), now - 5000
    )
    for at, state in enumerate(ENDED):
        began = now - 9000 + 100 * at
        turn = turn_row(id, session, at + 1, "done", began, 60.0)
        await add(turn)
        await add(step_row(turn, 1, began, ttft=0.2, took=1.0, tokens=5))
        given = json.dumps({**ARGUMENTS, "people": at + 2, "room": "quiet"})
        call = call_row(turn, 1, "c0", "book", given, "unsafe", "ok", "Booked.")
        call.wait = "approval"
        await add(call)
        kind = "ask" if state == "answered" else "approve"
        row = approval(turn, call, kind, "requester", person, began)
        row.state, row.decided_at, row.decided_via = state, began + 40, "telegram"
        if state in ("approved", "denied", "answered"):
            row.decided_by, row.decided_name = person, "Ana"
        else:
            row.decided_via = {"expired": "clock", "unreachable": "delivery"}.get(state, "turn")
        row.reason = "Too late in the evening." if state == "denied" else ""
        row.answers = ["On Friday"] if state == "answered" else []
        await add(row)
        made.approvals[state] = row.id
    grant = models.Grant(id=new_id(), subject=f"person:{person}", agent="concierge", tool="book")
    grant.tool_hash, grant.args_hash, grant.approval_id = "t", "a", made.approvals["approved"]
    grant.created_at, grant.expires_at, grant.uses = now - 8000, now + 29 * 86400, 3
    await add(grant)
    made.grant = grant.id


def _inbox(conversation_id: str, sequence: int, name: str, now: float) -> models.Inbox:
    row = models.Inbox(id=new_id(), conversation_id=conversation_id, sequence=sequence)
    row.channel, row.account, row.event_id = "telegram", ACCOUNT, f"{name}:{sequence}"
    row.message_id, row.kind, row.text, row.raw = str(sequence), "message", "And?", {}
    row.sender = {"address": name, "display_name": "Ana"}
    row.state, row.sent_at, row.received_at = "pending", now - 40, now - 40
    return row
