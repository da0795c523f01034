"""`roost doctor`: what is wrong with this machine, the settings, the data and the running stack."""

import asyncio
import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roost_channels.kinds import Level, ProbePorts
from roost_platform.data_folder import running_stack
from roost_platform.data_folder.settings_in_use import InUse, look
from roost_platform.errors import ConfigError
from roost_platform.masking import hide_secrets
from roost_platform.settings.config import Settings
from roost_platform.stack import local_ports, probes
from roost_platform.stack.checks.engines import engine_findings, template_findings
from roost_platform.stack.checks.gateway import Finding, agent_findings, gateway_findings
from roost_platform.stack.checks.kernels import kernel_findings
from roost_platform.stack.checks.model import model_findings
from roost_platform.stack.checks.profile import profile_findings
from roost_platform.stack.health import check, heartbeat
from roost_platform.stack.machine import Check, data_folder, machine
from roost_platform.stack.probes import reach

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from roost_platform.views.problems import Problem

log = logging.getLogger(__name__)

PARTS = ("temporal", "engine", "worker", "courier", "web")
OURS = ("worker", "courier", "web")  # that one of these answers means that a stack runs
DATABASE_TIMEOUT_S = 10.0
ALERTS = {
    "conflict": "somebody else takes this account's messages",
    "auth_error": "the credentials are refused",
}


def examine(data: Path | None) -> list[Check]:
    """Run all checks in order; unreadable settings end them early.

    A stack that runs is judged by its own settings, whatever the environment here says.
    """
    checks = list(machine())
    try:
        found = look(data)
    except ConfigError as error:
        checks.append(Check("settings", "broken", str(error)))
    else:
        checks += _all(found)
    return [replace(check, detail=hide_secrets(check.detail)) for check in checks]


def _all(found: InUse) -> Iterator[Check]:
    settings = found.settings
    source = settings.config_file or "defaults and environment"
    detail = "those of the running stack" if found.is_running else f"read from {source}"
    yield Check("settings", "ok", detail)
    if found.problem:
        yield Check("settings here", "warning", f"not used, the stack has its own: {found.problem}")
    yield from data_folder(settings)
    yield from asyncio.run(_database(settings))
    yield from (_of_finding(one) for one in model_findings(settings.engine))
    parts, is_up = _parts(found)
    yield from parts
    yield from (_of_finding(one) for one in engine_findings(settings))
    yield from (_of_finding(one) for one in template_findings(settings))
    yield from (_of_finding(one) for one in kernel_findings(settings))
    yield from (_of_finding(one) for one in profile_findings(settings))
    yield from _agents(settings, found, is_up)
    yield from (_of_finding(one) for one in asyncio.run(gateway_findings(settings)))
    yield from asyncio.run(_channels(settings))
    if is_up:
        yield from asyncio.run(_reported(settings))


async def _database(settings: Settings) -> list[Check]:
    from roost_platform.db.base.engine import Database
    from roost_platform.db.base.existing import is_missing

    if path := is_missing(settings.database_url):
        return [Check("database", "warning", f"{path} is not made yet; `roost up` makes it")]
    database = Database(settings.database_url)
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_S), database.connect() as connection:
            await connection.run_sync(_compare_schema)
    except Exception as error:  # every driver has its own errors; the person reads what it says
        where = database.url.render_as_string()
        why = str(error) or f"it does not answer in {DATABASE_TIMEOUT_S:.0f} s"
        detail = f"{where}: {type(error).__name__}: {why}".splitlines()[0]
        return [Check("database", "broken", detail)]
    finally:
        await database.close()
    kind = "SQLite" if database.is_sqlite else "PostgreSQL"
    return [Check("database", "ok", f"{kind}, tables up to date")]


async def _reported(settings: Settings) -> list[Check]:
    """Return what the running parts report of their accounts."""
    from roost_platform.db.channels import unreadable_counts
    from roost_platform.db.stores import open_stores
    from roost_platform.views.problems import problems

    stores = open_stores(settings.database_url)
    try:
        states = await stores.channels.all()
        async with stores.database.read() as session:
            unreadable = await unreadable_counts(session, stores.database.now())
            faults = await problems(session, stores.database.now())
    except Exception as error:  # the database has a check of its own
        log.debug("the accounts' states can't be read: %s", error)
        return []
    finally:
        await stores.close()
    checks = [_of_problem(problem) for problem in faults]
    for view in states:
        name = f"{view.channel} {view.account}"
        if view.state in ("conflict", "auth_error"):
            checks.append(Check(name, "broken", f"{ALERTS[view.state]}: {view.detail}"))
        elif view.state == "degraded":
            checks.append(Check(name, "warning", view.detail or "degraded"))
        if count := unreadable.get((view.channel, view.account)):
            detail = (
                f"{count} events of the last week could not be read; see Channels in the console"
            )
            checks.append(Check(name, "warning", detail))
    return checks


def _of_problem(problem: "Problem") -> Check:
    level: Level = "broken" if problem.code == "engine_refused" else "warning"
    turns = f"{problem.count} turn{'' if problem.count == 1 else 's'} of the last day"
    detail = f": {problem.detail}" if problem.detail else ""
    return Check("answers", level, f"{problem.title}{detail} ({turns}; see Overview)")


def _of_finding(finding: Finding) -> Check:
    return Check(finding.name, finding.level, finding.detail)


def _compare_schema(connection: "Connection") -> None:
    """Raise when the tables are not those of this version."""
    from alembic import command

    from roost_platform.db.base.migrate import alembic_config

    config = alembic_config(connection)
    config.stdout = io.StringIO()  # it prints its verdict, and our own output may be JSON
    command.check(config)


def _parts(found: InUse) -> tuple[list[Check], bool]:
    """Check each process; returns whether a stack runs at all as well.

    It may be one `roost up`, or parts that were started one by one, here or in other containers.
    """
    settings, run = found.settings, found.run
    problems = {part: check(part, settings, is_here=found.is_here) for part in PARTS}
    if (
        problems["web"]
        and run is None
        and not asyncio.run(heartbeat("web", settings, is_here=found.is_here))
    ):
        problems["web"] = ""  # it listens in another container
    is_up = found.is_running or any(not problems[part] for part in OURS)
    if not is_up:
        return list(_not_running(settings)), False
    how = f"runs at {run.url} (pid {run.pid})" if run else "runs; its parts were started one by one"
    checks = [Check("stack", "ok", how)]
    for part, problem in problems.items():
        if part == "engine" and run and not run.engine and not settings.engine.url:
            detail = "the stack was started with another engine; `roost status` asks it"
            checks.append(Check(part, "warning", detail))
            continue
        checks.append(Check(part, "broken" if problem else "ok", problem or "answers"))
    return checks, True


def _not_running(settings: Settings) -> Iterator[Check]:
    yield Check("stack", "warning", "not running; start it with `roost up`")
    port = settings.web.port
    if port and not local_ports.is_free(settings.web.host, port):
        by = local_ports.owner(port)
        yield Check("web port", "broken", f"{port} is in use{f' by {by}' if by else ''}")


def _agents(settings: Settings, found: InUse, is_up: bool) -> Iterator[Check]:
    """The agents that a running stack names, else those that load here, with their models."""
    if is_up:
        url = (
            found.run.url if found.run else f"http://{reach(settings.web.host)}:{settings.web.port}"
        )
        token = running_stack.read_token(settings.data_dir)
        status, body = probes.get_json(f"{url}/api/agents", token=token)
        if status == 200 and body.get("agents"):
            yield Check("agents", "ok", ", ".join(str(name) for name in body["agents"]))
            return
    from roost_workflows.agents import load_agents
    from roost_workflows.errors import AgentsError

    try:
        with contextlib.redirect_stdout(sys.stderr):  # their modules may print
            registry = load_agents(",".join(settings.agents))
    except AgentsError as error:
        yield Check("agents", "broken", str(error))
        return
    rest = [name for name in registry.names if name != registry.default]
    yield Check("agents", "ok", ", ".join([registry.default, *rest]))
    yield from (_of_finding(one) for one in agent_findings(settings, registry))


async def _channels(settings: Settings) -> list[Check]:
    """Probe each configured account."""
    checks = []
    for kind, config in settings.accounts():
        if kind.probe is not None:
            ports = ProbePorts(_get_json, settings.public_base_url or "")
            finding = await kind.probe(config, ports)
            checks.append(Check(kind.name, finding.level, finding.detail))
    url = settings.public_base_url
    if url and not url.startswith("https://") and not settings.sandbox:
        checks.append(Check("public address", "warning", f"{url} is not https"))
    if not checks:
        checks.append(Check("channels", "ok", "none configured; console and `roost chat` work"))
    return checks


async def _get_json(url: str, *, token: str = "") -> tuple[int, dict[str, Any]]:
    return await asyncio.to_thread(probes.get_json, url, token=token)
