"""`roost approvals`: what waits for a person's yes, no or answer; an operator decides it."""

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer

from roost_platform.cli.look import AsJson, Page
from roost_platform.cli.options import Data, connect
from roost_platform.cli.tables import ago, show

approvals = typer.Typer(
    no_args_is_help=True, help="What waits for a yes, a no or an answer: decide it."
)
ApprovalId = Annotated[
    str, typer.Argument(metavar="ID", help="Its id, or the beginning or end of it; see list.")
]
Reason = Annotated[str, typer.Option(help="Why; the agent is told.")]
WHO = {"requester": "the person", "operator": "an operator", "another": "another person"}


@approvals.command("list")
def list_approvals(
    data: Data = None,
    as_json: AsJson = False,
    page: Page = 1,
    state: Annotated[
        str, typer.Option(help="pending, decided, or one state such as denied.")
    ] = "pending",
) -> None:
    """List what waits; with --state, what became of others."""
    with connect(data) as api:
        rows = api.get("/api/approvals", page=page, state=state)["approvals"]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    columns = ("id", "state", "agent", "asks for", "arguments", "in", "decides", "since", "until")
    empty = "nothing waits for a decision" if state == "pending" else "there are none"
    show(empty, columns, [_row(row) for row in rows])


@approvals.command()
def approve(
    id: ApprovalId, reason: Reason = "", data: Data = None, as_json: AsJson = False
) -> None:
    """Let the call run."""
    _decide(data, id, "approve", reason, as_json=as_json)


@approvals.command()
def deny(id: ApprovalId, reason: Reason = "", data: Data = None, as_json: AsJson = False) -> None:
    """Keep the call from running; the agent goes on without it."""
    _decide(data, id, "deny", reason, as_json=as_json)


@approvals.command()
def answer(
    id: ApprovalId,
    answers: Annotated[
        list[str], typer.Argument(metavar="ANSWER", help="One for each open question, in order.")
    ],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question in the person's place; the first answer counts."""
    _send(data, id, {"verdict": "answer", "answers": answers}, as_json=as_json)


def _decide(data: Data, id: str, verdict: str, reason: str, *, as_json: bool) -> None:
    _send(data, id, {"verdict": verdict, "reason": reason}, as_json=as_json)


def _send(data: Data, id: str, decided: dict[str, Any], *, as_json: bool) -> None:
    with connect(data) as api:
        body = {**decided, "via": "cli"}
        done = api.post(f"/api/approvals/{quote(id, safe='')}", body)
    print(json.dumps(done, indent=2) if as_json else f"{done['id']} is {done['state']}")


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    decides = WHO.get(row["rule"], row["rule"])
    if row["kind"] != "approve":
        decides = f"{row['requester'] or 'the person'} or an operator, in words"
    is_open = row["state"] == "pending"
    return (
        row["id"],
        row["state"],
        row["agent"],
        row["tool"] or "; ".join(row["questions"]) or row["preview"],
        row["arguments"],
        row["session"],
        decides if is_open else row["decided_by"],
        ago(row["created_at"]),
        ago(row["expires_at"] if is_open else row["decided_at"]),
    )
