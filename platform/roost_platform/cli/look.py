"""The commands that only look: status, doctor, sessions, deliveries, models, settings."""

import json
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from roost_platform.cli.options import Data, connect, settings_in_use
from roost_platform.cli.tables import ago, show

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Page = Annotated[int, typer.Option(help="Which page of the list.", min=1)]
LEVELS = {"ok": 0, "warning": 1, "broken": 2}


def add_to(app: typer.Typer) -> None:
    """Register the commands on the root."""
    for command in (status, doctor, sessions, deliveries, models, settings):
        app.command()(command)


def status(data: Data = None, as_json: AsJson = False) -> None:
    """Show the health of the running stack; exit 0 if every part is up, 1 if not."""
    with connect(data) as api:
        answer = api.get("/api/status")
    if as_json:
        print(json.dumps(answer, indent=2))
    else:
        _show_status(answer)
    sys.exit(0 if answer["ok"] else 1)


def doctor(data: Data = None, as_json: AsJson = False) -> None:
    """Check this machine, the settings and the stack; exit 0 well, 1 warnings, 2 broken."""
    from roost_platform.stack.doctor import examine

    checks = examine(data)
    worst = max((LEVELS[check.level] for check in checks), default=0)
    if as_json:
        rows = [{"name": c.name, "level": c.level, "detail": c.detail} for c in checks]
        print(json.dumps({"exit": worst, "checks": rows}, indent=2))
    else:
        show("", ("check", "level", "detail"), [(c.name, c.level, c.detail) for c in checks])
    sys.exit(worst)


def sessions(data: Data = None, as_json: AsJson = False, page: Page = 1) -> None:
    """List conversations, the most recent first."""
    with connect(data) as api:
        rows = api.get("/api/sessions", page=page)["sessions"]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    columns = ("key", "title", "agent", "state", "turns", "last message")
    table = [
        (r["key"], r["title"], r["agent"], r["state"], str(r["turns"]), ago(r["last_at"]))
        for r in rows
    ]
    show("no sessions yet", columns, table)


def deliveries(
    data: Data = None,
    as_json: AsJson = False,
    page: Page = 1,
    state: Annotated[
        str | None, typer.Option(help="Only these: pending, uncertain, failed, sent or cancelled.")
    ] = None,
    uncertain: Annotated[
        bool, typer.Option("--uncertain", help="Only those whose outcome nobody knows.")
    ] = False,
    redrive: Annotated[
        str | None,
        typer.Option(
            help="Send this failed or uncertain delivery again, by its id. A message that may have "
            "arrived is labelled as a possible repeat."
        ),
    ] = None,
) -> None:
    """List messages to people and their states; with --redrive, send one again."""
    with connect(data) as api:
        if redrive:
            api.post(f"/api/deliveries/{redrive}/redrive")
            print(f"{redrive} will be sent again")
            return
        state = "uncertain" if uncertain else state
        rows = api.get("/api/deliveries", page=page, state=state)["deliveries"]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    last_column = "evidence" if uncertain else "error"
    columns = ("id", "to", "kind", "state", "attempts", "created", last_column)
    table = [
        (
            r["id"],
            r["key"],
            r["kind"],
            r["state"],
            str(r["attempts"]),
            ago(r["created_at"]),
            "\n".join(r["evidence"]) if uncertain else r["error"],
        )
        for r in rows
    ]
    show("no deliveries yet", columns, table)


def models(data: Data = None, as_json: AsJson = False) -> None:
    """List the gateway's models with their targets; exit 1 if a model has none in use."""
    with connect(data) as api:
        answer = api.get("/api/models")
    rows = [(model, target) for model in answer["models"] for target in model["targets"]]
    unusable = {model["name"] for model in answer["models"] if _is_unusable(model)}
    if as_json:
        print(json.dumps(answer, indent=2))
    else:
        columns = ("model", "target", "state", "in flight", "last error")
        table = [
            (
                model["name"],
                target["name"],
                target["state"],
                str(target["in_flight"]),
                target["last_error"] or "-",
            )
            for model, target in rows
        ]
        show("the gateway is off", columns, table)
    sys.exit(1 if unusable else 0)


def _is_unusable(model: dict[str, Any]) -> bool:
    return all(target["state"] == "cooling" for target in model["targets"])


def settings(
    data: Data = None,
    as_json: AsJson = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", hidden=True, help="Print docs/settings.md.")
    ] = False,
) -> None:
    """List every setting with its value, secrets hidden, and where it comes from."""
    from roost_platform.settings.markdown import render_page
    from roost_platform.settings.rows import setting_rows

    if markdown:
        print(render_page(), end="")
        return
    rows = setting_rows(settings_in_use(data))
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    show("", ("setting", "value", "from"), [(r.variable, r.value, r.origin) for r in rows])


def _show_status(answer: dict[str, Any]) -> None:
    rows = [
        (part["name"], "up" if part["up"] else "down", part["detail"]) for part in answer["parts"]
    ]
    show("", ("part", "state", "detail"), rows)
    figures = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in answer["counts"].items())
    print(figures)
