"""The last lines of the parts' log files, narrowed by part, level and text."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TAIL_BYTES: Final = 256 * 1024  # of one file that is read
LINES_MAX: Final = 200  # shown, newest kept
TEXT_CHARS_MAX: Final = 2000  # of one line
LEVELS: Final = ("debug", "info", "warning", "error")
NOT_SHOWN: Final = frozenset({"timestamp", "level", "event", "part", "logger", "exception"})


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line. fields: what was logged with the event, as `name=value`."""

    at: str
    part: str
    level: str
    event: str
    fields: str
    exception: str


@dataclass(frozen=True, slots=True)
class LogFilter:
    """What the lines are narrowed to; empty means all. text: an id or any other text."""

    part: str = ""
    level: str = ""
    text: str = ""


def parts_of(folder: Path) -> tuple[str, ...]:
    """The parts that have a log file."""
    return tuple(sorted(path.stem for path in folder.glob("*.log")))


def tail(folder: Path, by: LogFilter) -> tuple[LogLine, ...]:
    """The newest lines that fit, oldest first. It reads files: call it in a thread."""
    chosen = [part for part in parts_of(folder) if by.part in ("", part)]
    lines = [line for part in chosen for line in _lines(folder / f"{part}.log", part, by)]
    lines.sort(key=lambda line: line.at)  # stable: lines without a time stay where they are
    return tuple(lines[-LINES_MAX:])


def _lines(path: Path, part: str, by: LogFilter) -> Iterator[LogLine]:
    least = LEVELS.index(by.level) if by.level in LEVELS else 0
    at = ""
    for text in _tail_of(path):
        if by.text and by.text.lower() not in text.lower():
            continue
        line = _parsed(text, part, at)
        at = line.at
        if line.level not in LEVELS or LEVELS.index(line.level) >= least:
            yield line


def _tail_of(path: Path) -> list[str]:
    """Whole lines of the file's end; none where the file is gone."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return lines[1:] if size > TAIL_BYTES else lines


def _parsed(text: str, part: str, at: str) -> LogLine:
    """A line of JSON as it was logged; any other line as it is, at the time of the one before."""
    try:
        logged: Any = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        logged = None
    if not isinstance(logged, dict):
        return LogLine(at, part, "", text[:TEXT_CHARS_MAX], "", "")
    fields = " ".join(f"{key}={value}" for key, value in logged.items() if key not in NOT_SHOWN)
    return LogLine(
        at=str(logged.get("timestamp", at)),
        part=str(logged.get("part", part)),
        level=str(logged.get("level", "")),
        event=str(logged.get("event", ""))[:TEXT_CHARS_MAX],
        fields=fields[:TEXT_CHARS_MAX],
        exception=str(logged.get("exception", ""))[:TEXT_CHARS_MAX],
    )
