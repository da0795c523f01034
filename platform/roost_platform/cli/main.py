"""The command line: run Roost, talk to it, look at it. Heavy imports wait until needed."""

import os
import sys
from typing import Annotated, Any

import typer

from roost_platform.cli import (
    admin,
    approvals,
    flows,
    keep,
    look,
    new,
    people,
    retry,
    schedules,
)
from roost_platform.cli.engine import drafter, profile
from roost_platform.cli.gateway import keys, launch
from roost_platform.cli.options import Data, keep_private, read_settings, refuse
from roost_platform.errors import EXIT_CONFIG, ConfigError, PlatformError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Roost: agents that people talk to where they chat, on your own machine.",
)
PARTS = ("temporal", "engine", "worker", "courier", "web", "sandbox")


def main() -> None:
    """Entry point of `roost`. An error with an explanation is printed in one line, exit code 1."""
    keep_private()
    try:
        app()
    except PlatformError as error:
        refuse(str(error))


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """Agents that people talk to where they chat, on your own machine."""


@app.command()
def up(
    data: Data = None,
    port: Annotated[
        int | None, typer.Option(help="Web port; 0 takes a free one. Default 8420.")
    ] = None,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Run fake chat networks with a phone on each.")
    ] = False,
    headless: Annotated[
        bool, typer.Option("--headless", help="Plain lines instead of a live display.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also show the output of the parts.")
    ] = False,
    dev: Annotated[
        bool, typer.Option("--dev", help="Load agents again whenever their code changes.")
    ] = False,
    split: Annotated[
        bool,
        typer.Option("--split", help="Run a second engine that reads long prompts for the first."),
    ] = False,
) -> None:
    """Run everything in one terminal: database, Temporal, engine, worker, courier, web."""
    from roost_platform.stack.up import Options
    from roost_platform.stack.up import up as run_up

    overrides: dict[str, Any] = {} if port is None else {"web": {"port": port}}
    settings = read_settings(data, overrides)
    options = Options(sandbox, headless, verbose, settings.config_file, dev, split)
    sys.exit(run_up(settings, options))


@app.command()
def serve(
    part: Annotated[str, typer.Argument(help=f"One of: {', '.join(PARTS)}.")],
    data: Data = None,
) -> None:
    """Run one part; `roost up` and compose.yaml run them all this way."""
    from roost_platform.stack.lifeline import attach_to_supervisor, end_itself_when_silent

    attach_to_supervisor()
    end_itself_when_silent()
    if part not in PARTS:
        refuse(f"There is no part {part!r}. The parts are: {', '.join(PARTS)}.", code=2)
    try:
        settings = read_settings(data)
    except ConfigError as error:
        refuse(str(error), code=EXIT_CONFIG)
    from roost_platform.processes.serve import serve as run_part

    code = run_part(part, settings)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of temporalio and llama.cpp may still run; interpreter shutdown under them can abort.
    os._exit(code)


@app.command()
def migrate(
    data: Data = None,
    to: Annotated[
        str | None,
        typer.Option(help="Take the tables back to this older revision, such as 0016."),
    ] = None,
) -> None:
    """Bring the database's tables up to date, or back to those of an older version."""
    from roost_platform.stack.lifeline import attach_to_supervisor

    attach_to_supervisor()
    settings = read_settings(data)
    from roost_platform.processes import migrate as migration

    if to is None:
        migration.migrate(settings)
    else:
        migration.take_back(settings, to)


@app.command()
def health(
    part: Annotated[str, typer.Argument(help=f"One of: {', '.join(PARTS)}.")],
    data: Data = None,
) -> None:
    """Check one part, for container health checks; exit 0 if it is well, 1 if not."""
    from roost_platform.data_folder.settings_in_use import settings_of_part
    from roost_platform.stack.health import check

    problem = check(part, settings_of_part(part, data))
    if problem:
        refuse(f"{part}: {problem}")


@app.command()
def chat(
    message: Annotated[
        str | None,
        typer.Option("--message", "-m", help="Send this message, print the answer, and end."),
    ] = None,
    session: Annotated[
        str, typer.Option(help="Name of the conversation; it continues where it ended.")
    ] = "cli",
    agent: Annotated[
        str | None, typer.Option(help="Agent of a new conversation; default: the first one.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the answer and its figures as JSON.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.")] = 600.0,
    data: Data = None,
) -> None:
    """Talk to an agent through the running stack."""
    from roost_platform.cli.chat import converse, say_once
    from roost_platform.cli.options import connect

    with connect(data) as api:
        if message is not None:
            sys.exit(say_once(api, session, message, agent=agent, as_json=as_json, wait_s=timeout))
        sys.exit(converse(api, session, agent=agent, wait_s=timeout))


@app.command()
def version() -> None:
    """Print the version."""
    from roost_platform.version import VERSION

    print(VERSION)


look.add_to(app)
keep.add_to(app)
app.command()(retry.retry)
app.add_typer(new.new, name="new")
app.add_typer(admin.pairing, name="pairing")
app.add_typer(approvals.approvals, name="approvals")
app.add_typer(people.people, name="people")
app.add_typer(profile.profile, name="profile")
app.add_typer(drafter.drafter, name="drafter")
app.add_typer(schedules.schedules, name="schedules")
app.add_typer(keys.keys, name="keys")
app.add_typer(flows.flow, name="flow")
app.command()(launch.launch)
app.add_typer(admin.admin, name="admin")
