"""`roost flow`: start flows, list them, and look at their journals."""

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer

from roost_platform.cli.options import Data, connect, refuse
from roost_platform.cli.tables import ago, show
from roost_platform.terminal import for_stream

RESULT_CHARS_MAX = 60

flow = typer.Typer(no_args_is_help=True, help="Flows: functions whose every step is kept.")
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@flow.command()
def start(
    name: Annotated[str, typer.Argument(help="The flow's name.")],
    input: Annotated[
        str,
        typer.Option(
            "--input",
            help='Its input as a JSON object; {"message": "…"} for one that takes a message.',
        ),
    ] = "{}",
    session: Annotated[
        str, typer.Option(help="Console session to start it in; by default one of its own.")
    ] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Start a flow; prints the id by which `roost flow show` finds it."""
    try:
        given = json.loads(input)
    except (ValueError, RecursionError) as error:
        refuse(f"--input is not JSON: {error}", code=2)
    if not isinstance(given, dict):
        refuse("--input must be a JSON object with the flow's fields by name.", code=2)
    with connect(data) as api:
        started = api.post("/api/flows", {"name": name, "input": given, "session": session})
    print(json.dumps(started, indent=2) if as_json else started["id"])


@flow.command("list")
def list_flows(
    data: Data = None,
    as_json: AsJson = False,
    page: Annotated[int, typer.Option(help="Which page of the list.", min=1)] = 1,
    state: Annotated[
        str | None, typer.Option(help="Only these: running, waiting, done, stopped or failed.")
    ] = None,
) -> None:
    """List flows, the newest first."""
    with connect(data) as api:
        rows = api.get("/api/flows", page=page, state=state)["flows"]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    columns = ("id", "flow", "state", "steps", "waits for", "session", "began")
    table = [
        (
            row["id"],
            row["name"],
            row["state"],
            f"{row['ended']}/{row['steps']}",
            ", ".join(row["waits_for"]),
            row["key"],
            ago(row["created_at"]),
        )
        for row in rows
    ]
    show("no flows yet", columns, table)


@flow.command("show")
def show_flow(
    id: Annotated[str, typer.Argument(help="The flow's id, or the one that `start` printed.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show a flow with its journal, step by step."""
    with connect(data) as api:
        found = api.get(f"/api/flows/{quote(id, safe='')}")
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['name']} {found['state']}  {found['key']}")
    columns = ("step", "path", "what", "state", "took", "result")
    show("it has not begun", columns, [_row(step) for step in found["journal"]])
    for text in filter(None, (found["answer"], found["error"])):
        print(for_stream(f"\n{text}"))


@flow.command("fork")
def fork_flow(
    id: Annotated[str, typer.Argument(help="The flow's id, or the one that `start` printed.")],
    at: Annotated[
        int, typer.Option("--at", min=1, help="The step with which the new run begins, from 1.")
    ],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Begin a new run with the results of the steps before one; no effect is repeated."""
    with connect(data) as api:
        forked = api.post(f"/api/flows/{quote(id, safe='')}/fork", {"at": at})
    print(json.dumps(forked, indent=2) if as_json else forked["id"])


def _row(step: dict[str, Any]) -> tuple[str, ...]:
    what = f"{step['op']} {step['name']}".strip()
    took = ""
    if step["started_at"] is not None and step["finished_at"] is not None:
        took = f"{step['finished_at'] - step['started_at']:.1f} s"
    elif step["due_at"] is not None:
        took = ago(step["due_at"])
    state = f"waiting: {step['wait']}" if step["state"] == "waiting" else step["state"]
    result = " ".join(step["result"].split())
    short = result if len(result) <= RESULT_CHARS_MAX else f"{result[:RESULT_CHARS_MAX]}…"
    return (str(step["number"]), step["path"], what[:RESULT_CHARS_MAX], state, took, short)
