"""Logs say what happened without saying secrets, and never grow without bound."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from roost_platform.stack import logs
from roost_platform.stack.process_log import LINE_BYTES_MAX, TAIL_LINES, ProcessLog


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    out = io.StringIO()
    logs.configure("worker", json_lines=True, stream=out)
    yield out
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_both_kinds_of_loggers_write_json_lines_with_the_part(stream: io.StringIO) -> None:
    logging.getLogger("one").warning("%s failed", "it")
    structlog.get_logger("two").info("done", turn="t1")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["event"], first["level"], first["part"]) == ("it failed", "warning", "worker")
    assert (second["event"], second["turn"], second["logger"]) == ("done", "t1", "two")


def test_an_exception_is_one_line_with_its_traceback(stream: io.StringIO) -> None:
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("one").exception("it broke")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: no" in json.loads(line)["exception"]


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("bot123456789:AAH9dkfj3kd93kd03kd93kd93kd93kd93k/getMe", "bot123456789:***/getMe"),
        ("Authorization: Bearer roost_abc", "Authorization: Bearer ***"),
        ("postgresql://roost:hush@db/roost", "postgresql://roost:***@db/roost"),
        ("from whatsapp:+4915550010002", "from whatsapp:+***02"),
        ("http://h/setup#token=abc-DEF_1", "http://h/setup#token=***"),
        ("it took 1500 ms", "it took 1500 ms"),
    ],
)
def test_secrets_and_phone_numbers_are_masked(stream: io.StringIO, said: str, written: str) -> None:
    logging.getLogger("one").warning(said)
    assert json.loads(stream.getvalue())["event"] == written


def test_values_under_secret_names_are_masked(stream: io.StringIO) -> None:
    structlog.get_logger("one").info("signed in", auth_token="abc", user="ada")
    entry = json.loads(stream.getvalue())
    assert (entry["auth_token"], entry["user"]) == ("***", "ada")


def test_a_process_log_keeps_whole_lines_and_the_last_of_them(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "x.log")
    assert list(log.feed(b"one\ntw")) == ["one"]
    assert list(log.feed(b"o\r\nthree")) == ["two"]
    log.flush()
    assert (tmp_path / "x.log").read_text() == "one\ntwo\nthree\n"
    list(log.feed(b"".join(b"%d\n" % n for n in range(100))))
    assert log.tail() == [str(n) for n in range(100 - TAIL_LINES, 100)]
    log.flush()


def test_output_without_line_ends_is_cut_and_broken_text_is_kept(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "x.log")
    (line,) = log.feed(b"x" * (LINE_BYTES_MAX + 1))
    assert len(line) == LINE_BYTES_MAX + 1
    assert list(log.feed(b"\xff\n")) == ["\ufffd"]
    log.flush()


def test_a_process_log_is_rotated_and_old_ones_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roost_platform.stack.process_log.FILE_BYTES_MAX", 1000)
    log = ProcessLog(tmp_path / "x.log")
    for _ in range(100):
        list(log.feed(b"y" * 99 + b"\n"))
    log.flush()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["x.log", "x.log.1", "x.log.2", "x.log.3"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
