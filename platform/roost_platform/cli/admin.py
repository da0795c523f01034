"""`roost pairing` and `roost admin`: people who write to the agents, and operators."""

import asyncio
import json
import sys
from typing import Annotated
from urllib.parse import quote

import typer

from roost_platform.cli.look import AsJson
from roost_platform.cli.options import Data, connect, refuse, settings_in_use
from roost_platform.cli.tables import show

pairing = typer.Typer(no_args_is_help=True, help="People who want to talk to the agents.")
admin = typer.Typer(
    no_args_is_help=True, help="Operators of the console; works on this machine only."
)


@pairing.command("list")
def list_pairings(data: Data = None, as_json: AsJson = False) -> None:
    """List people who wait to be let in, with what `approve` takes: a code, else their id."""
    with connect(data) as api:
        rows = api.get("/api/people", access="pending")["people"]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    shown = [
        (row["code"] or row["id"], row["display_name"], ", ".join(row["aliases"])) for row in rows
    ]
    show("nobody waits", ("code or id", "name", "known as"), shown)


@pairing.command()
def approve(
    code: Annotated[str, typer.Argument(help="The code the person was given, or their id.")],
    data: Data = None,
) -> None:
    """Let a person in; the messages they sent meanwhile are answered now."""
    with connect(data) as api:
        api.post(f"/api/people/{quote(code, safe='')}/approve")
    print("let in; the messages they sent meanwhile are answered now")


@admin.command()
def create(
    name: str,
    role: Annotated[str, typer.Option(help="viewer, operator or admin.")] = "admin",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from stdin.")
    ] = False,
    data: Data = None,
) -> None:
    """Create an operator; this also helps when every password is lost."""
    password = (
        sys.stdin.readline().rstrip("\n")
        if password_stdin
        else typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    )
    from roost_platform.identity.operators import create_operator

    asyncio.run(create_operator(settings_in_use(data), name, password, role))
    print(f"{name} may sign in now ({role})")


@admin.command("reset-token")
def reset_token(data: Data = None) -> None:
    """Print a new one-time link that creates the first administrator."""
    from roost_platform.errors import Refused
    from roost_platform.identity.operators import new_setup_link

    try:
        print(asyncio.run(new_setup_link(settings_in_use(data))))
    except Refused as error:
        refuse(f"{error} To add another operator: roost admin create NAME")
