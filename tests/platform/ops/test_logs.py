"""Logs say what happened without saying secrets, and never grow without bound."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import structlog

from roost_platform.masking import mask
from roost_platform.stack import logs
from roost_platform.stack.logs import LINES_MAX, PLACES_MAX, SPAN_S, RepeatFilter
from roost_platform.stack.process_log import LINE_BYTES_MAX, TAIL_LINES, ProcessLog
from roost_platform.testing.growth import grows_in_proportion


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


def test_a_line_of_the_web_server_is_written_once_and_without_colours(stream: io.StringIO) -> None:
    coloured = {"color_message": "Started server process [\x1b[36m%d\x1b[0m]"}
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7, extra=coloured)
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "Started server process [7]"
    assert "color_message" not in line and "[36m" not in line


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
        ("postgresql://roost:h/u@s?h@db/roost", "postgresql://roost:***@db/roost"),
        ("redis://:hush@db/0", "redis://:***@db/0"),
        ("https://token-hush@h/v1?x=1", "https://***@h/v1?x=1"),
        (
            "s3://b?region=eu&secret_access_key=hush&x=1",
            "s3://b?region=eu&secret_access_key=***&x=1",
        ),
        ("host=db password=hush user=x", "host=db password=*** user=x"),
        (
            "at http://127.0.0.1:8420/v1, see a@b.example",
            "at http://127.0.0.1:8420/v1, see a@b.example",
        ),
        ("from whatsapp:+4915550010002", "from whatsapp:+***02"),
        ("http://h/setup#token=abc-DEF_1", "http://h/setup#token=***"),
        ("it took 1500 ms", "it took 1500 ms"),
    ],
)
def test_secrets_and_phone_numbers_are_masked(stream: io.StringIO, said: str, written: str) -> None:
    logging.getLogger("one").warning(said)
    assert json.loads(stream.getvalue())["event"] == written


def test_masking_takes_time_in_proportion_to_the_text() -> None:
    for piece in ("://a:", "://a:b/c", "?password", "bearer ", "12:", "+123456", "https://", "&a."):
        assert grows_in_proportion(partial(masking, piece), 4000), piece


def masking(piece: str, count: int) -> Callable[[], str]:
    return partial(mask, piece * count)


def test_secrets_deep_in_a_line_and_in_tracebacks_are_masked(stream: io.StringIO) -> None:
    url = "postgresql://u:hush@db/x"
    structlog.get_logger("one").warning("x", about={"urls": [url], "token": "hush"})
    try:
        raise ValueError(url)
    except ValueError:
        logging.getLogger("one").exception("it broke")
    assert "hush" not in stream.getvalue()
    assert stream.getvalue().count("***@db") == 2


def test_an_error_that_repeats_without_end_is_counted_and_others_are_still_written(
    stream: io.StringIO,
) -> None:
    for number in range(1000):
        logging.getLogger("loud").error("connection %d was lost", number)
    logging.getLogger("quiet").error("the disk is full")
    for number in range(100):
        logging.getLogger("loud").info("message accepted", extra={"inbox_id": number})
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert sum(event.startswith("connection") for event in events) == LINES_MAX
    assert events.count("the disk is full") == 1
    assert events.count("message accepted") == 100


def test_what_was_left_out_is_told_with_the_next_line() -> None:
    now = 0.0
    repeats = RepeatFilter(lambda: now)

    def passes() -> logging.LogRecord | None:
        record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "x", None, None)
        return record if repeats.filter(record) else None

    assert sum(passes() is not None for _ in range(LINES_MAX + 7)) == LINES_MAX
    now += SPAN_S
    later = passes()
    assert later is not None and later.__dict__["left_out"] == 7


def test_the_filter_remembers_a_bounded_number_of_places() -> None:
    repeats = RepeatFilter()
    for line in range(PLACES_MAX * 2):
        repeats.filter(logging.LogRecord("x", logging.ERROR, "x.py", line, "x", None, None))
    assert len(repeats._places) == PLACES_MAX


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
