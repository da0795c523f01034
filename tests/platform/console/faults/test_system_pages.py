"""Settings, doctor and logs as pages: for admins, without secrets, bounded and live."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from roost_platform.settings.config import load_settings
from roost_platform.views.faults.log_lines import LINES_MAX, TAIL_BYTES, LogFilter, parts_of, tail
from roost_platform.views.faults.system import ShownCheck, SystemView
from roost_platform.web.console_setup import system_view

SECRET = "s3cr3t-canary"


@pytest.fixture
def admin(seeded: Any) -> Iterator[httpx2.Client]:
    cookie = seeded.cookie
    headers = {"sec-fetch-site": "same-origin", "accept": "text/html"}
    with httpx2.Client(base_url=seeded.server.url, headers=headers) as client:
        client.cookies.set(cookie["name"], cookie["value"])
        yield client


def test_the_pages_are_for_admins_alone(seeded: Any, admin: httpx2.Client) -> None:
    cookie = seeded.server.sign_in_cookie("An operator", "operator")
    with httpx2.Client(base_url=seeded.server.url, headers=admin.headers) as other:
        other.cookies.set(cookie["name"], cookie["value"])
        for path in ("/settings", "/doctor", "/logs"):
            assert admin.get(path).status_code == 200
            assert other.get(path).status_code == 403
            assert f'href="{path}"' not in other.get("/").text


def test_settings_can_be_searched_and_narrowed_to_what_is_set(admin: httpx2.Client) -> None:
    everything = admin.get("/settings").text
    assert "ROOST_ENGINE__URL" in everything and "ROOST_LOG__LEVEL" in everything
    assert "ROOST_LOG__LEVEL" not in admin.get("/settings?given=yes").text
    assert "ROOST_ENGINE__URL" not in admin.get("/settings?q=LEAST").text
    assert "No settings found" in admin.get("/settings?q=nothing").text


def test_the_doctor_says_what_is_not_well(admin: httpx2.Client) -> None:
    page = admin.get("/doctor").text
    assert "nearly full" in page and "1 to look at" in page


def test_logs_are_narrowed_by_level_and_id(admin: httpx2.Client) -> None:
    assert "turn begins" in admin.get("/logs").text
    errors = admin.get("/logs?level=error&q=t-1&part=worker").text
    assert "model call failed" in errors and "turn begins" not in errors
    assert "No lines" in admin.get("/logs?part=../../etc/passwd").text


def test_secrets_are_hidden_and_origins_told(tmp_path: Path) -> None:
    environ = {
        "ROOST_ENGINE__API_KEY": SECRET,
        "ROOST_DATABASE__URL": f"postgresql://me:{SECRET}@db/roost",
        "ROOST_ALERTS__WEBHOOK": f"https://hooks.example.org/{SECRET}",
    }
    settings = load_settings({"data_dir": tmp_path}, environ=environ)
    shown = {row.path: row for row in system_view(settings).settings}
    assert SECRET not in json.dumps([row.value for row in shown.values()])
    assert shown["engine.api_key"].value == "set" and shown["engine.api_key"].secret
    assert shown["engine.api_key"].origin != shown["log.level"].origin == "default"


def test_the_tail_is_bounded_and_reads_only_log_files(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("other")
    line = json.dumps({"event": "x" * 90, "level": "info", "timestamp": "2026"})
    (tmp_path / "web.log").write_text(f"{line}\n" * (3 * TAIL_BYTES // len(line)))
    (tmp_path / "worker.log").write_text("{broken json\n[1, 2]\n" + "{" * 5000 + "\n")
    assert parts_of(tmp_path) == ("web", "worker")
    lines = tail(tmp_path, LogFilter(part="web"))
    assert len(lines) == LINES_MAX
    assert [one.event[:7] for one in tail(tmp_path, LogFilter(part="worker"))] == [
        "{broken",
        "[1, 2]",
        "{{{{{{{",
    ]
    assert tail(tmp_path, LogFilter(part="../secret")) == ()
    assert tail(tmp_path / "missing", LogFilter()) == ()


async def test_several_readers_share_one_examination() -> None:
    asked: list[int] = []

    def examine() -> list[ShownCheck]:
        asked.append(1)
        return [ShownCheck("a", "ok", "")]

    view = SystemView((), examine, Path("nowhere"))
    for _ in range(5):
        assert len(await view.checks()) == 1
    assert len(asked) == 1
