"""`roost schedules`: what is to be done at its time; list, run, pause, resume, delete."""

import json
from typing import Annotated
from urllib.parse import quote

import typer

from roost_platform.cli.look import AsJson, Page
from roost_platform.cli.options import Data, connect
from roost_platform.cli.tables import show

schedules = typer.Typer(
    no_args_is_help=True, help="Reminders, tasks, jobs and checks that have a time."
)
ScheduleId = Annotated[str, typer.Argument(metavar="ID", help="The schedule's id; see list.")]
State = Annotated[str | None, typer.Option(help="Only these: active, paused, done or deleted.")]


@schedules.command("list")
def list_schedules(
    data: Data = None, as_json: AsJson = False, page: Page = 1, state: State = None
) -> None:
    """List the schedules that are not over, those due next first."""
    with connect(data) as api:
        rows = api.get("/api/schedules", page=page, state=state)["schedules"]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    columns = ("id", "kind", "state", "times", "zone", "owner", "text")
    table = [
        (r["id"], r["kind"], r["state"], r["times"], r["zone"], r["owner"], r["text"][:60])
        for r in rows
    ]
    show("no schedules", columns, table)


@schedules.command()
def run(id: ScheduleId, data: Data = None, as_json: AsJson = False) -> None:
    """Run one now, beside its times."""
    _act(id, "run", data, as_json)


@schedules.command()
def pause(id: ScheduleId, data: Data = None, as_json: AsJson = False) -> None:
    """Let one rest; what is due meanwhile is not made up for."""
    _act(id, "pause", data, as_json)


@schedules.command()
def resume(id: ScheduleId, data: Data = None, as_json: AsJson = False) -> None:
    """Go on with its next time to come."""
    _act(id, "resume", data, as_json)


@schedules.command()
def delete(id: ScheduleId, data: Data = None, as_json: AsJson = False) -> None:
    """Delete one; its history stays."""
    _act(id, "delete", data, as_json)


def _act(id: str, action: str, data: Data, as_json: bool) -> None:
    path = f"/api/schedules/{quote(id, safe='')}"
    with connect(data) as api:
        done = api.delete(path) if action == "delete" else api.post(f"{path}/{action}")
    print(json.dumps(done, indent=2) if as_json else f"{id} is {done['state']}")
