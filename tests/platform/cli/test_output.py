"""What the command line prints: whole ids on a pipe, one sentence for what is wrong, no silence."""

import socket
import time
from pathlib import Path

import pytest

from roost_platform.cli import tables
from roost_platform.errors import EXIT_CONFIG, ConfigError
from roost_platform.settings.config import load_settings
from roost_platform.testing.command_line import FakeStack, roost
from roost_platform.version import VERSION

LONG = "whatsapp:+15550001000:" + "a-very-long-thread-id-" * 20


def test_the_version_is_an_option_as_well() -> None:
    done = roost("--version")
    assert (done.returncode, done.stdout.strip()) == (0, VERSION)


@pytest.mark.parametrize("width", ["20", "80"])
def test_on_a_pipe_a_row_is_a_line_with_whole_cells(fake: FakeStack, width: str) -> None:
    row = {
        "id": "0192f0c1-7d6e-7c2e-9b0a-3f5e8d1c2b4a",
        "key": LONG,
        "kind": "answer",
        "state": "failed",
        "attempts": 5,
        "created_at": time.time() - 49,
        "error": "HTTP 400\n[red]Bad\tRequest[/]",
        "evidence": [],
    }
    fake.answers["/api/deliveries"] = {"deliveries": [row, row]}
    done = roost("deliveries", data=fake.data, COLUMNS=width)
    header, *lines = done.stdout.splitlines()
    assert header.split("\t")[:2] == ["id", "to"]
    assert len(lines) == 2
    cells = lines[0].split("\t")
    assert cells[:5] == [row["id"], LONG, "answer", "failed", "5"]
    assert cells[6] == "HTTP 400; [red]Bad Request[/]"


def test_times_to_come_are_not_told_as_past(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    said = [tables.ago(at) for at in (951.0, 1049.0, 1000.0, 1000.0 + 7200, None)]
    assert said == ["49 s ago", "in 49 s", "0 s ago", "in 2 h", ""]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ROOST_DATABASE__URL", "mysql://h/x", "write postgresql://"),
        ("ROOST_DATABASE__URL", "postgresql://u:hush@h:port/x", "can't be read as a URL"),
        ("ROOST_TEMPORAL__ADDRESS", "temporal", "write host:port"),
        ("ROOST_TEMPORAL__ADDRESS", "temporal:x", "write host:port"),
        ("ROOST_WEB__PORT", "99999", "less than or equal to 65535"),
        ("ROOST_LOG__LEVEL", "loud", "debug|info"),
        ("ROOST_TELEGRAM__ALLOWLIST", "[1", "can't be read"),
        ("ROOST_CHANNELS", "no_such_module:KIND", "no_such_module"),
        ("ROOST_CONFIG", "/nowhere.toml", "not a file"),
    ],
)
def test_a_wrong_setting_is_told_in_words(
    tmp_path: Path, variable: str, value: str, words: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load_settings({"data_dir": tmp_path}, environ={variable: value})
    assert words in str(error.value)
    assert "hush" not in str(error.value)


def test_a_wrong_setting_ends_a_part_with_a_code_that_no_restart_mends(tmp_path: Path) -> None:
    wrong = {"ROOST_DATABASE__URL": "postgresql://u:hush@h:port/x"}
    for command, code in ((("up", "--headless"), 1), (("serve", "web"), EXIT_CONFIG)):
        done = roost(*command, data=tmp_path, **wrong)
        assert (done.returncode, done.stdout) == (code, "")
        assert "can't be read as a URL" in done.stderr
        assert "Traceback" not in done.stderr
        assert "hush" not in done.stderr


def test_a_wrong_toml_file_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "roost.toml").write_text("[web\nport = 1")
    done = roost("settings", data=tmp_path)
    assert done.returncode == 1
    assert str(tmp_path / "roost.toml") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_does_not_answer_is_named_at_once_and_given_up(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # nobody listens there
        url = f"postgresql://u:hush@127.0.0.1:{probe.getsockname()[1]}/roost"
        settings = {"ROOST_DATABASE__URL": url, "ROOST_DATABASE__WAIT_S": "2"}
        done = roost("up", "--headless", "--port", "0", data=tmp_path, **settings)
    assert done.returncode == 1
    first = next(line for line in done.stderr.splitlines() if "does not answer" in line)
    assert "postgresql+psycopg://u:***@127.0.0.1:" in first
    assert "trying for 2 s" in first
    assert "The database can't be used" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stderr
    assert (tmp_path / "logs" / "migrate.log").exists()


def test_a_part_that_dies_on_start_has_a_log_that_says_so(tmp_path: Path) -> None:
    done = roost(
        *("up", "--headless", "--port", "0"),
        data=tmp_path,
        ROOST_ENGINE__MODEL="/nowhere.gguf",
    )
    assert done.returncode == 1
    log = (tmp_path / "logs" / "engine.log").read_text()
    assert '"event": "started"' in log
    assert "/nowhere.gguf" in log
    assert f"ended with code {EXIT_CONFIG}" in log
    assert not (tmp_path / "run.json").exists()
