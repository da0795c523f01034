"""Every setting can be set in .env, and no part of compose.yaml misses one."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from roost_channels.config import DeliveryConfig
from roost_platform.db.base.engine import Database
from roost_platform.settings.config import Settings, load_settings
from roost_platform.testing.compose import OURS, environment, interpolated
from roost_workflows.config import WorkerConfig

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "settings.md").read_text()
# | `ROOST_X__Y` | meaning | kind | `default` |
ROWS = dict(re.findall(r"^\| `(ROOST_\w+)` \|.*\| ([^|]+) \| [^|]*\|$", PAGE, re.MULTILINE))
# The folder is the volume's, and a container listens on its own network, not on loopback.
OF_THE_CONTAINER = {"ROOST_DATA_DIR", "ROOST_ENGINE__HOST"}
OF_ONE = {
    "web": {"ROOST_WEB__HOST"},
    "prefill": {f"ROOST_ENGINE__{name}" for name in ("ROLE", "HANDOVER_HOST", "ALLOWED_HOSTS")},
}


def settings_of(service: str, env_file: Mapping[str, str]) -> Settings:
    return load_settings(environ=environment(service, env_file))


def test_the_page_of_settings_is_read_here() -> None:
    assert len(ROWS) > 100
    assert {"ROOST_WHATSAPP_CLOUD__ACCESS_TOKEN", "ROOST_INBOUND__QUEUE"} <= set(ROWS)


@pytest.mark.parametrize("service", OURS)
def test_a_setting_in_the_env_file_reaches_every_part(service: str) -> None:
    reached = {name for name in ROWS if environment(service, {name: "mine"})[name] == "mine"}
    assert set(ROWS) - reached == OF_THE_CONTAINER | OF_ONE.get(service, set())


@pytest.mark.parametrize("service", OURS)
def test_what_a_container_is_told_beside_the_file_is_what_containers_need(service: str) -> None:
    settings = settings_of(service, {})
    assert settings.data_dir == Path("/data")
    assert settings.temporal_address == "temporal:7233"
    own = service in ("engine", "prefill")
    assert settings.engine_url == f"http://{'0.0.0.0' if own else 'engine'}:8421"
    assert settings.engine.allowed_hosts == ((service,) if own else ())
    assert settings.web.host == ("0.0.0.0" if service == "web" else "127.0.0.1")


def test_only_one_variable_must_be_chosen() -> None:
    needed = re.findall(r"\$\{(\w+):\?", (ROOT / "compose.yaml").read_text())
    assert set(needed) == {"POSTGRES_PASSWORD"}


@pytest.mark.parametrize("service", OURS)
def test_an_engine_elsewhere_and_every_channel_come_from_the_file(service: str) -> None:
    settings = settings_of(
        service,
        {
            "ROOST_ENGINE__URL": "https://engine.example.org/v1",
            "ROOST_WHATSAPP_CLOUD__ACCESS_TOKEN": "token",
            "ROOST_WHATSAPP_CLOUD__PHONE_NUMBER_ID": "106540352242922",
            "ROOST_WHATSAPP_CLOUD__APP_SECRET": "secret",
            "ROOST_WHATSAPP_CLOUD__VERIFY_TOKEN": "word",
            "ROOST_INBOUND__QUEUE_WHATSAPP": "collect",
            "ROOST_WEB__ALLOWED_HOSTS": "roost.example.org,roost",
            "ROOST_DELIVERY__LANES_MAX": "7",
        },
    )
    assert settings.engine_url == "https://engine.example.org/v1"
    assert {kind.name for kind, _ in settings.accounts()} == {"console", "whatsapp cloud"}
    assert settings.inbound.rules.by_channel == {"whatsapp": "collect"}
    assert settings.web.allowed_hosts == ("roost.example.org", "roost")
    assert settings.delivery.lanes_max == 7


@pytest.mark.parametrize("password", ["plain", "p@ss/w:rd?#[1] %41é"])
def test_any_password_reaches_the_database_as_it_was_chosen(password: str) -> None:
    url = Database.parse(settings_of("web", {"POSTGRES_PASSWORD": password}).database_url)
    assert (url.username, url.password) == ("roost", password)
    assert (url.host, url.port, url.database) == ("postgres", 5432, "roost")


def test_a_database_elsewhere_has_a_password_of_its_own() -> None:
    given = {
        "ROOST_DATABASE__URL": "postgresql+psycopg://me@db.example.org/roost",
        "ROOST_DATABASE__PASSWORD": "other",
    }
    url = Database.parse(settings_of("worker", given).database_url)
    assert (url.username, url.password, url.host) == ("me", "other", "db.example.org")


def test_parts_have_longer_to_stop_than_they_take() -> None:
    def grace(service: str) -> float:
        return float(interpolated(OURS[service]["stop_grace_period"], {}).removesuffix("s"))

    assert grace("courier") >= DeliveryConfig().shutdown_s + 5
    assert grace("worker") >= WorkerConfig().graceful_shutdown_s + 5
    assert grace("engine") > 15
    assert grace("web") > 5


def test_agents_are_mounted_where_python_looks_and_their_libraries_are_in_the_image(
    tmp_path: Path,
) -> None:
    dockerfile = (ROOT / "platform" / "Dockerfile").read_text()
    assert "PYTHONPATH=/agents" in dockerfile.rpartition("\nFROM ")[2]
    assert all("./agents:/agents:ro" in service["volumes"] for service in OURS.values())
    step = dockerfile[dockerfile.index("RUN if [ -f /src/agents/requirements.txt") + 4 :]
    script = step[: step.index("fi\n") + 2].replace("/src/agents", str(tmp_path))
    bash = shutil.which("bash")
    assert bash
    # The step itself, with a pip that says what it was asked.
    fake = tmp_path / "pip"
    fake.write_text(f'#!{bash}\necho "$@" >> {tmp_path}/asked\n')
    fake.chmod(0o755)
    script = script.replace("/opt/roost/bin/pip", str(fake))
    subprocess.run([bash, "-euc", script], check=True)
    assert not (tmp_path / "asked").exists()
    (tmp_path / "requirements.txt").write_text("httpx\n")
    subprocess.run([bash, "-euc", script], check=True)
    assert (tmp_path / "asked").read_text().splitlines() == [
        "freeze --exclude roost",
        f"install -c {tmp_path}/locked.txt -r {tmp_path}/requirements.txt",
    ]


def test_an_agent_in_the_mounted_folder_answers_in_every_part(tmp_path: Path) -> None:
    (tmp_path / "my_agents.py").write_text(
        'from roost import Agent\nwaiter = Agent("waiter", instructions="You book tables.")\n'
    )
    code = (
        "from roost_platform.settings.config import load_settings\n"
        "from roost_platform.wiring.storage import load_registry\n"
        "print(load_registry(load_settings()).default)"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    env = environment("worker", {"ROOST_AGENTS": "my_agents:waiter"}) | {"PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"]} | env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == "waiter", done.stderr
