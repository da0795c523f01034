"""Commands that look ask the stack that runs, need only its data folder, and make nothing."""

import json
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost_platform.data_folder import running_stack, settings_in_use
from roost_platform.data_folder.process_identity import start_of
from roost_platform.db.base.engine import Database
from roost_platform.identity.accounts import Accounts
from roost_platform.settings.config import load_settings
from roost_platform.testing.command_line import roost
from roost_platform.testing.processes import Process, free_port

LOOKING = (
    ("doctor",),
    ("status",),
    ("health", "worker"),
    ("admin", "reset-token"),
    ("backup", "nowhere.roost"),
)


@pytest.fixture
def web(database_url: str, tmp_path: Path) -> Iterator[Path]:
    """The web part alone, on either database; the value is its data folder."""
    data = tmp_path / "data"
    env = {
        "ROOST_DATA_DIR": str(data),
        "ROOST_DATABASE__URL": database_url,
        "ROOST_WEB__PORT": str(free_port()),
        "ROOST_ENGINE__URL": "http://user:hush-hush@127.0.0.1:9/v1?api_key=hush-hush",
        "ROOST_ENGINE__API_KEY": "hush-hush",
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ROOST_")}
    command = [sys.executable, "-m", "roost_platform", "serve", "web"]
    part = Process(command, clean | env | {"PYTHONPATH": os.pathsep.join(sys.path)})
    part.start()
    part.wait_for('{"event": "Uvicorn running', 60)
    yield data
    part.stop()


def checks_of(data: Path) -> dict[str, dict[str, str]]:
    done = roost("doctor", "--json", data=data)
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


async def test_a_part_that_runs_alone_tells_every_command_its_settings(
    web: Path, database_url: str
) -> None:
    checks = checks_of(web)
    kind = "SQLite" if database_url.startswith("sqlite") else "PostgreSQL"
    assert checks["database"] == {
        "name": "database",
        "level": "ok",
        "detail": f"{kind}, tables up to date",
    }
    assert checks["web"]["level"] == "ok"
    assert checks["stack"]["level"] == "ok"
    assert checks["agents"]["detail"] == "concierge"
    assert "***@127.0.0.1:9" in checks["engine"]["detail"]
    assert "hush" not in str(checks)
    shown = roost("settings", "--json", data=web).stdout
    assert "hush" not in shown
    rows = json.loads(shown)
    origins = {row["variable"]: row["origin"] for row in rows}
    assert origins["ROOST_DATABASE__URL"] == "environment of the stack"
    assert roost("status", data=web).returncode == 1  # it answers: other parts are down
    done = roost("admin", "create", "ada", "--password-stdin", data=web, stdin="a good password\n")
    assert done.returncode == 0, done.stderr
    assert not (web / "roost.db").exists()
    database = Database(database_url)
    try:
        assert await Accounts(database, lambda: 0.0).has_admin()
    finally:
        await database.close()


def test_what_was_given_at_the_start_is_kept_for_the_owner_and_outlives_the_stack(
    tmp_path: Path,
) -> None:
    given = {"ROOST_DATA_DIR": str(tmp_path), "ROOST_ENGINE__URL": "http://127.0.0.1:9"}
    url = "postgresql://u:hush@db/x"
    settings_in_use.keep(load_settings(environ=given | {"ROOST_DATABASE__URL": url}), "web")
    file = tmp_path / "run" / "web.settings.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text(json.dumps(json.loads(file.read_text()) | {"started": "long ago"}))
    found = settings_in_use.look(tmp_path, {})
    assert not found.is_running
    assert (found.settings.engine.url, found.settings.database_url) == ("http://127.0.0.1:9", url)
    here = settings_in_use.look(tmp_path, {"ROOST_ENGINE__URL": "http://127.0.0.1:10"})
    assert here.settings.engine.url == "http://127.0.0.1:10"
    assert here.settings.database_url == url


def test_a_stack_that_runs_is_judged_by_its_own_settings(tmp_path: Path) -> None:
    environ = {"ROOST_DATA_DIR": str(tmp_path), "ROOST_WEB__PORT": "1234"}
    settings_in_use.keep(load_settings(environ=environ), "web")
    wrong = {"ROOST_WEB__PORT": "99", "ROOST_WEB__PROT": "99"}
    found = settings_in_use.look(tmp_path, wrong)
    assert found.is_running
    assert found.settings.web.port == 1234
    assert "ROOST_WEB__PROT" in found.problem


def test_what_was_chosen_for_one_run_does_not_outlive_it(tmp_path: Path) -> None:
    given = load_settings(environ={"ROOST_DATA_DIR": str(tmp_path), "ROOST_LOG__LEVEL": "debug"})
    environ = {"ROOST_DATA_DIR": str(tmp_path), "ROOST_LOG__LEVEL": "debug", "ROOST_SANDBOX": "1"}
    settings_in_use.keep(load_settings(environ=environ), settings_in_use.UP, given=given)
    assert settings_in_use.look(tmp_path, {}).settings.sandbox
    file = tmp_path / "run" / "up.settings.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"started": "long ago"}))
    left = settings_in_use.look(tmp_path, {})
    assert not left.is_running
    assert (left.settings.sandbox, left.settings.log.level) == (False, "debug")


@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
def test_looking_makes_nothing(command: tuple[str, ...], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'elsewhere' / 'x.db'}"
    roost(*command, data=tmp_path / "data", HOME=str(tmp_path), ROOST_DATABASE__URL=url)
    assert not list(tmp_path.iterdir())


def test_a_pid_that_another_process_has_now_is_no_running_stack(tmp_path: Path) -> None:
    run = running_stack.RunningStack(os.getpid(), 1, 2, 3, 0.0, "http://127.0.0.1:1")
    file = tmp_path / running_stack.RUN_FILE
    for started, is_there in ((start_of(os.getpid()), True), ("before", False)):
        running_stack.write_private(file, json.dumps({**_fields(run), "started": started}))
        assert (running_stack.read_run(tmp_path) is not None) == is_there


def test_a_wrong_agent_is_broken_in_one_sentence(tmp_path: Path) -> None:
    done = roost("doctor", "--json", data=tmp_path, ROOST_AGENTS="no_such_module:agent")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 2
    assert checks["agents"]["level"] == "broken"
    assert "no_such_module" in checks["agents"]["detail"]


def _fields(run: running_stack.RunningStack) -> dict[str, object]:
    return {name: getattr(run, name) for name in run.__slots__}


def test_a_port_that_refuses_is_told_with_its_address(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        url = f"postgresql://u:hush@127.0.0.1:{port}/roost"
        done = roost("doctor", "--json", data=tmp_path, ROOST_DATABASE__URL=url)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["database"]["level"] == "broken"
    assert str(port) in checks["database"]["detail"]
    assert "hush" not in done.stdout
