"""`roost people`: all that is kept of a person, exported or deleted."""

import json
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from roost_platform.cli.look import AsJson
from roost_platform.cli.options import Data, connect, refuse
from roost_platform.cli.tables import show

people = typer.Typer(no_args_is_help=True, help="What is kept of a person: export it, delete it.")
PersonId = Annotated[str, typer.Argument(metavar="ID", help="The person's id; see list.")]


@people.command("list")
def list_people(data: Data = None, as_json: AsJson = False) -> None:
    """List the people who wrote, with their ids."""
    with connect(data) as api:
        rows = api.get("/api/people")["people"]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    shown = [
        (row["id"], row["access"], row["display_name"], ", ".join(row["aliases"])) for row in rows
    ]
    show("nobody has written yet", ("id", "access", "name", "known as"), shown)


@people.command()
def export(
    id: PersonId,
    file: Annotated[Path, typer.Argument(help="The new ZIP file.")],
    data: Data = None,
) -> None:
    """Write all that is kept of a person into one ZIP file."""
    if file.exists():
        refuse(f"{file} exists already.")
    with connect(data) as api:
        size = api.download(f"/api/people/{quote(id, safe='')}/export", file)
    print(f"exported {size} bytes to {file}", file=sys.stderr)


@people.command()
def delete(
    id: PersonId,
    data: Data = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
) -> None:
    """Delete all that is kept of a person. It can't be undone."""
    if not yes and not typer.confirm(f"Delete all that is kept of {id}? It can't be undone"):
        refuse("nothing is deleted")
    with connect(data) as api:
        done = api.post(f"/api/people/{quote(id, safe='')}/delete", {"confirm": True}, wait_s=300)
    print(f"deleted {done['messages']} messages and {done['files']} files")
    if not done["written_over"]:
        print("the database was too busy to be written anew; run VACUUM later", file=sys.stderr)
