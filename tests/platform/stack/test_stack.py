"""One stack per data folder, found by the command line, its secrets for its owner only."""

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from roost_channels.telegram.kind import KIND as TELEGRAM
from roost_platform.data_folder import running_stack
from roost_platform.errors import AlreadyRunning, PortInUse, StackNotFound
from roost_platform.settings.config import load_settings
from roost_platform.stack import local_ports
from roost_platform.stack.addresses import choose_ports
from roost_platform.stack.up import Options, environment, plan

RUN = running_stack.RunningStack(os.getpid(), 8420, 1, 2, 0.0, "http://127.0.0.1:8420")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("ROOST_URL", raising=False)


def test_a_data_folder_is_held_by_one_and_says_by_whom(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path\n"
            "from roost_platform.data_folder import running_stack\n"
            f"with running_stack.lock(Path({str(tmp_path)!r})):\n"
            " print('held', flush=True)\n sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        running_stack.write_run(tmp_path, RUN)
        with pytest.raises(AlreadyRunning) as error, running_stack.lock(tmp_path):
            pass
        assert f"pid {holder.pid}" in str(error.value)
        assert RUN.url in str(error.value)
        holder.kill()
    with running_stack.lock(tmp_path):
        assert (tmp_path / running_stack.LOCK_FILE).read_text() == str(os.getpid())


def test_the_run_file_is_private_and_forgotten_with_its_process(tmp_path: Path) -> None:
    running_stack.write_run(tmp_path, RUN)
    file = tmp_path / running_stack.RUN_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert running_stack.read_run(tmp_path) == RUN
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pid": ended.pid}))
    assert running_stack.read_run(tmp_path) is None


def test_a_stack_started_elsewhere_is_found_unless_a_folder_was_named(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    running_stack.write_run(elsewhere, RUN)
    running_stack.write_private(elsewhere / running_stack.TOKEN_FILE, "roost_x")
    nothing = tmp_path / "nothing"
    found = running_stack.find(nothing, explicit=False, web_url="")
    assert (found.url, found.token) == (RUN.url, "roost_x")
    with pytest.raises(StackNotFound, match="roost up"):
        running_stack.find(nothing, explicit=True, web_url="")
    running_stack.clear_run(elsewhere)
    with pytest.raises(StackNotFound):
        running_stack.find(nothing, explicit=False, web_url="")


def test_a_url_in_the_environment_is_used_before_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOST_URL", "https://roost.example.org/")
    monkeypatch.setenv("ROOST_API_TOKEN", "roost_y")
    found = running_stack.find(tmp_path, explicit=True, web_url="")
    assert (found.url, found.token) == ("https://roost.example.org", "roost_y")


def test_parts_started_one_by_one_are_found_at_the_configured_port(tmp_path: Path) -> None:
    running_stack.write_private(tmp_path / running_stack.TOKEN_FILE, "roost_z\n")
    found = running_stack.find(tmp_path, explicit=True, web_url="http://127.0.0.1:8420")
    assert (found.url, found.token) == ("http://127.0.0.1:8420", "roost_z")


def test_a_port_in_use_is_told_with_its_owner(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not local_ports.is_free("127.0.0.1", port)
        settings = load_settings({"data_dir": tmp_path, "web": {"port": port}}, environ={})
        with pytest.raises(PortInUse) as error:
            choose_ports(settings, sandbox=False)
    assert f"Port {port} (web) is in use by " in str(error.value)
    assert f"(pid {os.getpid()})" in str(error.value)
    assert "--port" in str(error.value)


def test_every_port_is_its_own_and_told_to_every_part(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path, "web": {"port": 0}}, environ={})
    addresses = choose_ports(settings, sandbox=True)
    numbers = [
        addresses.web,
        addresses.engine,
        addresses.temporal,
        *addresses.fakes.values(),
    ]
    assert len(set(numbers)) == 6
    env = environment(settings, Options(), addresses)
    assert env["ROOST_WEB__PORT"] == str(addresses.web)
    assert env["ROOST_TEMPORAL__ADDRESS"] == f"127.0.0.1:{addresses.temporal}"
    load_settings(environ=env)


def test_parts_stand_in_the_order_in_which_they_need_each_other(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path, "web": {"port": 0}}, environ={})
    addresses = choose_ports(settings, sandbox=True)
    names = [part.name for part in plan(settings, Options(sandbox=True), addresses)]
    assert names == ["temporal", "sandbox", "engine", "worker", "courier", "web"]


def test_the_engine_alone_is_started_with_what_its_memory_needs(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path, "web": {"port": 0}}, environ={})
    parts = plan(settings, Options(), choose_ports(settings, sandbox=False))
    assert [part.name for part in parts if "GLIBC_TUNABLES" in part.env] == ["engine"]


def test_what_runs_elsewhere_is_not_started(tmp_path: Path) -> None:
    environ = {
        "ROOST_ENGINE__URL": "http://vllm:8000",
        "ROOST_TEMPORAL__ADDRESS": "temporal:7233",
        "ROOST_WEB__PORT": "0",
    }
    settings = load_settings({"data_dir": tmp_path}, environ=environ)
    addresses = choose_ports(settings, sandbox=False)
    names = [part.name for part in plan(settings, Options(), addresses)]
    assert names == ["worker", "courier", "web"]
    env = environment(settings, Options(), addresses)
    assert "ROOST_ENGINE__PORT" not in env
    assert "ROOST_TEMPORAL__ADDRESS" not in env


def test_the_sandbox_never_uses_a_real_token(tmp_path: Path) -> None:
    environ = {
        "ROOST_TELEGRAM__TOKEN": "1:real",
        "ROOST_TWILIO__ACCOUNT_SID": "ACreal",
        "ROOST_TWILIO__AUTH_TOKEN": "real",
        "ROOST_TWILIO__FROM": "whatsapp:+1000",
        "ROOST_WHATSAPP_CLOUD__ACCESS_TOKEN": "real",
        "ROOST_WHATSAPP_CLOUD__PHONE_NUMBER_ID": "1",
        "ROOST_WHATSAPP_CLOUD__APP_SECRET": "real",
        "ROOST_WHATSAPP_CLOUD__VERIFY_TOKEN": "real",
    }
    settings = load_settings({"data_dir": tmp_path, "web": {"port": 0}}, environ=environ)
    addresses = choose_ports(settings, sandbox=True)
    env = environ | environment(settings, Options(sandbox=True), addresses)
    child = load_settings(environ=env)
    assert child.sandbox
    assert child.channel(TELEGRAM).account == "42"
    networks = {k.section: k.sandbox.url(child.channel(k)) for k in child.kinds if k.sandbox}
    assert networks == {
        section: f"http://127.0.0.1:{port}" for section, port in addresses.fakes.items()
    }
    assert set(networks) == {"telegram", "twilio", "whatsapp_cloud"}
    assert "real" not in env.values()
