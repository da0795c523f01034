"""`roost doctor`: what is wrong with this machine, the settings, the data and the running stack."""

import asyncio
import io
import logging
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roost_channels.kinds import Level, ProbePorts
from roost_platform.data_folder import running_stack
from roost_platform.data_folder.engine_key import KEY_FILE
from roost_platform.errors import ConfigError
from roost_platform.settings.config import Settings, load_settings
from roost_platform.stack import local_ports, probes

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from roost_platform.views.problems import Problem

log = logging.getLogger(__name__)

DISK_FREE_MIN = 1 << 30
MEMORY_MIN = 1 << 30
PRIVATE_FILES = (
    KEY_FILE,
    running_stack.AUDIT_KEY_FILE,
    running_stack.TOKEN_FILE,
    running_stack.RUN_FILE,
    running_stack.SETUP_FILE,
    "roost.toml",
)
ALERTS = {
    "conflict": "somebody else takes this account's messages",
    "auth_error": "the credentials are refused",
}
SLOW_CPU = "without AVX2 answers are several times slower"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. level: ok | warning | broken."""

    name: str
    level: Level
    detail: str


def examine(data: Path | None) -> list[Check]:
    """Run all checks in order; unreadable settings end them early."""
    checks = list(_machine())
    try:
        settings = load_settings({} if data is None else {"data_dir": data})
    except ConfigError as error:
        return [*checks, Check("settings", "broken", str(error))]
    source = settings.config_file or "defaults and environment"
    checks.append(Check("settings", "ok", f"read from {source}"))
    stack = running_stack.locate(
        settings.data_dir, explicit=settings.origin("data_dir") != "default"
    )
    run = None
    if stack:
        folder, run = stack
        settings = settings.model_copy(update={"data_dir": folder})
        settings = _as_running(settings, run)
    checks += [*_data(settings), *asyncio.run(_database(settings)), *_model(settings)]
    checks += [*_running(settings, run), *asyncio.run(_channels(settings))]
    if run is not None:
        checks += asyncio.run(_reported(settings))
    return checks


def _machine() -> Iterator[Check]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Check("python", "ok" if sys.version_info >= (3, 11) else "broken", version)
    flags = _cpu_flags()
    if flags:
        fast = next((f for f in ("avx512f", "avx2", "asimd") if f in flags), "")
        detail = f"{os.cpu_count()} cores, {fast or 'no AVX2'}"
        yield Check("processor", "ok" if fast else "warning", detail if fast else SLOW_CPU)
    free = _memory_free()
    if free is not None:
        level: Level = "ok" if free > MEMORY_MIN else "warning"
        yield Check("memory", level, f"{free / 2**30:.1f} GiB free")


def _data(settings: Settings) -> Iterator[Check]:
    folder = settings.data_dir
    if not folder.is_dir():
        yield Check("data folder", "warning", f"{folder} does not exist yet; `roost up` makes it")
        return
    if not os.access(folder, os.W_OK):
        yield Check("data folder", "broken", f"{folder} is not writable")
        return
    free = shutil.disk_usage(folder).free
    level: Level = "ok" if free > DISK_FREE_MIN else "warning"
    yield Check("data folder", level, f"{folder}, {free / 2**30:.1f} GiB free")
    for name in PRIVATE_FILES:
        file = folder / name
        if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
            yield Check("permissions", "warning", f"others may read {file}; chmod 600 it")


async def _database(settings: Settings) -> list[Check]:
    from roost_platform.db.base.engine import Database

    if settings.database.url is None and not (settings.data_dir / "roost.db").exists():
        return [Check("database", "warning", "not made yet; `roost up` makes it")]
    database = Database(settings.database_url)
    try:
        async with database.connect() as connection:
            await connection.run_sync(_compare_schema)
    except Exception as error:  # every driver has its own errors; the person reads what it says
        return [Check("database", "broken", f"{type(error).__name__}: {error}".splitlines()[0])]
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


def _compare_schema(connection: "Connection") -> None:
    """Raise when the tables are not those of this version."""
    from alembic import command

    from roost_platform.db.base.migrate import alembic_config

    config = alembic_config(connection)
    config.stdout = io.StringIO()  # it prints its verdict, and our own output may be JSON
    command.check(config)


def _model(settings: Settings) -> Iterator[Check]:
    if settings.engine.url:
        yield Check("model", "ok", f"{settings.engine.model_name or 'the first one'} at its engine")
    elif settings.engine.model is None:
        yield Check("model", "ok", "the bundled 135M model: for trying Roost, not for real use")
    elif not settings.engine.model.is_file():
        yield Check("model", "broken", f"{settings.engine.model} is not a file")
    else:
        size = settings.engine.model.stat().st_size
        yield Check("model", "ok", f"{settings.engine.model}, {size / 2**30:.1f} GiB")


def _running(settings: Settings, run: running_stack.RunningStack | None) -> Iterator[Check]:
    if run is None:
        yield Check("stack", "warning", "not running; start it with `roost up`")
        port = settings.web.port
        if port and not local_ports.is_free(settings.web.host, port):
            by = local_ports.owner(port)
            yield Check("web port", "broken", f"{port} is in use{f' by {by}' if by else ''}")
        return
    yield Check("stack", "ok", f"runs at {run.url} (pid {run.pid})")
    from roost_platform.stack.health import check

    for part in ("temporal", "engine", "worker", "courier", "web"):
        if part == "engine" and not run.engine and not settings.engine.url:
            detail = "the stack was started with another engine; `roost status` asks it"
            yield Check(part, "warning", detail)
            continue
        problem = check(part, settings)
        yield Check(part, "broken" if problem else "ok", problem or "answers")


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


def _as_running(settings: Settings, run: running_stack.RunningStack) -> Settings:
    """Return the settings with the ports that the running stack chose."""
    web = settings.web.model_copy(update={"port": run.web})
    engine = settings.engine.model_copy(update={"port": run.engine} if run.engine else {})
    address = f"127.0.0.1:{run.temporal}" if run.temporal else settings.temporal.address
    temporal = settings.temporal.model_copy(update={"address": address})
    return settings.model_copy(update={"web": web, "engine": engine, "temporal": temporal})


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return set()
    line = next(
        (li for li in text.splitlines() if li.lower().startswith(("flags", "features"))), ""
    )
    return set(line.partition(":")[2].split())


def _memory_free() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    line = next((li for li in text.splitlines() if li.startswith("MemAvailable:")), "")
    return int(line.split()[1]) * 1024 if line else None
