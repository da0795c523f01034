"""The command line: quick help, clear errors, exit codes that scripts can trust."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from roost_channels.testing import FakeCloud
from roost_platform.data_folder import running_stack
from roost_platform.testing.command_line import FakeStack, roost
from roost_platform.version import VERSION

HEAVY = ("sqlalchemy", "temporalio", "fastapi", "aiogram", "numpy", "pydantic", "httpx2", "uvicorn")


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from roost_platform.cli.main import app\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout.strip() == "[]"


def test_version_is_the_installed_one() -> None:
    assert roost("version").stdout.strip() == VERSION


def test_an_unknown_part_is_told_with_the_known_ones(tmp_path: Path) -> None:
    done = roost("serve", "pigeon", data=tmp_path)
    assert done.returncode == 2
    assert "temporal, engine, worker, courier, web" in done.stderr


def test_a_wrong_setting_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    done = roost("up", data=tmp_path, ROOST_WEB__PROT="1")
    assert (done.returncode, done.stdout) == (1, "")
    expected = "ROOST_WEB__PROT (environment) is not a setting. Did you mean ROOST_WEB__PORT?"
    assert done.stderr.strip() == f"roost: {expected}"


def test_up_ends_with_the_parts_last_words_when_it_can_not_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "roost.db").write_text("this is not a database, and long enough to be read as one")
    done = roost("up", "--headless", "--port", "0", data=data, HOME=str(tmp_path))
    assert done.returncode == 1
    assert "file is not a database" in done.stderr
    assert str(data / "logs" / "migrate.log") in done.stderr
    assert "ready" not in done.stdout
    assert not (data / "run.json").exists()


def test_a_data_folder_that_can_not_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "inside", Path("/proc/roost")):
        done = roost("up", "--headless", "--port", "0", data=folder)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"roost: The data folder {folder} can't be used: ")
        assert len(done.stderr.splitlines()) == 1


def test_up_tells_a_missing_model_at_once_in_one_line(tmp_path: Path) -> None:
    done = roost(
        *("up", "--headless", "--port", "0"),
        data=tmp_path / "data",
        HOME=str(tmp_path),
        ROOST_ENGINE__MODEL="/nowhere.gguf",
    )
    assert done.returncode == 1
    assert "engine | The model /nowhere.gguf does not exist or is not a file" in done.stderr
    assert "engine can't run" in done.stderr
    assert "starting it again" not in done.stderr
    assert "{" not in done.stderr


def test_a_part_that_waits_for_temporal_stops_at_once(sqlite_url: str, tmp_path: Path) -> None:
    base = {k: v for k, v in os.environ.items() if not k.startswith("ROOST_")}
    env = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "ROOST_DATA_DIR": str(tmp_path),
        "ROOST_DATABASE__URL": sqlite_url,
        "ROOST_TEMPORAL__ADDRESS": "127.0.0.1:1",
    }
    worker = subprocess.Popen(
        [sys.executable, "-m", "roost_platform", "serve", "worker"], env=base | env
    )
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(6)
        worker.terminate()
        assert worker.wait(5) == 0
    finally:
        worker.kill()
        worker.wait()  # else a failure here warns in a later test


def test_a_busy_port_is_told_with_its_holder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        for part, variable in (("engine", "ROOST_ENGINE__PORT"), ("web", "ROOST_WEB__PORT")):
            done = roost("serve", part, data=tmp_path, **{variable: port})
            assert done.returncode == 1
            assert f"Port {port} ({part}) is in use by" in done.stderr
            assert "Traceback" not in done.stderr


def test_an_operator_can_not_be_made_in_a_database_without_tables(tmp_path: Path) -> None:
    password = "correct horse battery"
    done = roost("admin", "create", "eve", "--password-stdin", data=tmp_path, stdin=password)
    assert (done.returncode, done.stdout) == (1, "")
    assert "`roost migrate` makes them" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_without_a_stack_the_way_to_start_one_is_told(tmp_path: Path) -> None:
    for command in (("chat", "-m", "?"), ("status",), ("sessions",), ("pairing", "list")):
        done = roost(*command, data=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert "roost up" in done.stderr


def test_status_exits_by_how_the_parts_are(fake: FakeStack) -> None:
    answer = {
        "ok": False,
        "version": "1",
        "parts": [{"name": "worker", "up": False, "detail": "not seen yet"}],
        "counts": {"sessions": 3},
    }
    fake.answers["/api/status"] = answer
    done = roost("status", data=fake.data)
    assert done.returncode == 1
    assert "worker" in done.stdout
    assert "sessions 3" in done.stdout
    fake.answers["/api/status"] = answer | {"ok": True}
    done = roost("status", "--json", data=fake.data)
    assert done.returncode == 0
    assert json.loads(done.stdout)["counts"] == {"sessions": 3}


def test_who_waits_to_be_let_in_is_listed_with_what_approve_takes(fake: FakeStack) -> None:
    people = [
        {"id": "p1", "code": "SBY7YPVK", "display_name": "Ada", "aliases": ["telegram:7"]},
        {"id": "p2", "code": "", "display_name": "Bob", "aliases": ["telegram:8"]},
    ]
    fake.answers["/api/people"] = {"people": people}
    listed = roost("pairing", "list", data=fake.data).stdout.splitlines()
    assert [line.split("\t")[0] for line in listed] == ["code or id", "SBY7YPVK", "p2"]


def test_doctor_warns_before_the_first_start_and_breaks_on_a_wrong_setting(tmp_path: Path) -> None:
    done = roost("doctor", "--json", data=tmp_path / "new")
    report = json.loads(done.stdout)
    assert done.returncode == report["exit"] == 1
    levels = {check["name"]: check["level"] for check in report["checks"]}
    assert levels["settings"] == "ok"
    assert levels["stack"] == "warning"
    done = roost("doctor", data=tmp_path, ROOST_WEB__PORT="x")
    assert done.returncode == 2
    assert "ROOST_WEB__PORT" in done.stdout


def test_doctor_looks_at_the_running_stack_wherever_its_folder_is(
    fake: FakeStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run = running_stack.read_run(fake.data)
    assert run
    running_stack.write_run(fake.data, run)
    done = roost("doctor", "--json", HOME=str(tmp_path / "home"))
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert run.url in checks["stack"]["detail"]
    assert str(fake.data) in checks["data folder"]["detail"]


def test_doctor_finds_the_tables_of_this_version_and_misses_them_elsewhere(
    sqlite_url: str, tmp_path: Path
) -> None:
    (tmp_path / "empty.db").touch()
    found = {}
    for name in ("ours", "empty", "absent"):
        url = sqlite_url if name == "ours" else f"sqlite:///{tmp_path / f'{name}.db'}"
        done = roost("doctor", "--json", data=tmp_path, ROOST_DATABASE__URL=url)
        checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
        found[name] = (checks["database"]["level"], done.returncode)
    assert found == {"ours": ("ok", 1), "empty": ("broken", 2), "absent": ("warning", 1)}
    assert not (tmp_path / "absent.db").exists()


def test_doctor_says_that_twilio_needs_a_public_address(tmp_path: Path) -> None:
    done = roost(
        "doctor",
        "--json",
        data=tmp_path,
        ROOST_TWILIO__ACCOUNT_SID="AC1",
        ROOST_TWILIO__AUTH_TOKEN="t",
        ROOST_TWILIO__FROM="whatsapp:+1",
    )
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 2
    assert "ROOST_PUBLIC_BASE_URL" in checks["whatsapp"]["detail"]


async def test_doctor_asks_meta_whether_it_takes_the_token(tmp_path: Path) -> None:
    async with FakeCloud() as cloud:
        done = await asyncio.to_thread(
            roost,
            "doctor",
            "--json",
            data=tmp_path,
            ROOST_PUBLIC_BASE_URL="https://roost.example.org",
            ROOST_WHATSAPP_CLOUD__ACCESS_TOKEN="an old one",
            ROOST_WHATSAPP_CLOUD__PHONE_NUMBER_ID=cloud.settings.phone_number_id,
            ROOST_WHATSAPP_CLOUD__APP_SECRET="s",
            ROOST_WHATSAPP_CLOUD__VERIFY_TOKEN="v",
            ROOST_WHATSAPP_CLOUD__API_BASE=cloud.base_url,
        )
        assert [call.status for call in cloud.calls_of("number")] == [401]
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["whatsapp cloud"]["level"] == "broken"
    assert "refuses the access token" in checks["whatsapp cloud"]["detail"]


def test_a_container_health_check_fails_for_a_part_that_was_never_seen(sqlite_url: str) -> None:
    done = roost("health", "worker", ROOST_DATABASE__URL=sqlite_url)
    assert done.returncode == 1
    assert "never seen" in done.stderr


def test_an_operator_made_on_this_machine_ends_the_setup_link(
    sqlite_url: str, tmp_path: Path
) -> None:
    env = {"ROOST_DATABASE__URL": sqlite_url}
    link = roost("admin", "reset-token", data=tmp_path, **env)
    assert link.stdout.startswith("http://127.0.0.1:8420/setup#token=")
    short = roost(
        "admin", "create", "ada", "--password-stdin", data=tmp_path, stdin="short\n", **env
    )
    assert (short.returncode, "at least" in short.stderr) == (1, True)
    made = roost(
        "admin",
        "create",
        "ada",
        "--password-stdin",
        data=tmp_path,
        stdin="a good long password\n",
        **env,
    )
    assert made.returncode == 0, made.stderr
    again = roost("admin", "reset-token", data=tmp_path, **env)
    assert again.returncode == 1
    assert "roost admin create" in again.stderr


def test_settings_are_listed_with_their_origin_and_without_secrets(tmp_path: Path) -> None:
    done = roost("settings", "--json", data=tmp_path, ROOST_TELEGRAM__TOKEN="42:hush")
    rows = {row["variable"]: row for row in json.loads(done.stdout)}
    assert rows["ROOST_TELEGRAM__TOKEN"]["value"] == "set"
    assert rows["ROOST_TELEGRAM__TOKEN"]["origin"] == "environment"
    assert "hush" not in done.stdout
