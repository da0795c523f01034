"""The log file of one supervised process: rotated by size, its last lines kept for errors."""

import asyncio
import json
import logging
import logging.handlers
import os
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from roost_platform.masking import mask

FILE_BYTES_MAX = 5 * 1024 * 1024
FILES_KEPT = 3
TAIL_LINES = 20
LINE_BYTES_MAX = 64 * 1024


class ProcessLog:
    """Takes a child's output in chunks, writes whole lines without secrets, keeps the last ones."""

    def __init__(self, file: Path) -> None:
        self._part = file.stem
        file.parent.mkdir(parents=True, exist_ok=True)
        self._handler = logging.handlers.RotatingFileHandler(
            file, maxBytes=FILE_BYTES_MAX, backupCount=FILES_KEPT, encoding="utf-8", delay=True
        )
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._partial = b""

    async def copy(self, output: int, tell: Callable[[str], None]) -> None:
        """Write all that comes from a pipe until it ends, and tell each line."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(output, "rb", buffering=0)
        )
        try:
            while chunk := await reader.read(65536):
                for line in self.feed(chunk):
                    tell(line)
        finally:
            transport.close()

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Write the chunk's complete lines and yield them; the rest waits for the next chunk."""
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        if len(self._partial) > LINE_BYTES_MAX:  # the line is too long: cut it here
            lines.append(self._partial)
            self._partial = b""
        for raw in lines:
            line = raw.decode("utf-8", errors="replace").rstrip("\r")
            self.write(line)
            yield line

    def flush(self) -> None:
        """Write what has no newline, and close the file until the next line."""
        if self._partial:
            self.write(self._partial.decode("utf-8", errors="replace"))
            self._partial = b""
        self._handler.close()

    def write(self, line: str) -> None:
        """Write one line."""
        line = mask(line)
        self._tail.append(line)
        self._handler.emit(logging.makeLogRecord({"msg": line, "args": None}))

    def note(self, event: str, *, level: str = "info", **fields: Any) -> None:
        """Write what the supervisor saw of the process, in the form of the process's own lines.

        It does not count among the last lines, which are the process's own words.
        """
        at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        about = {"part": self._part, "level": level, "logger": "roost.up", "timestamp": at}
        line = json.dumps({**fields, "event": event, **about})
        self._handler.emit(logging.makeLogRecord({"msg": line, "args": None}))

    def tail(self) -> list[str]:
        """The last lines, oldest first."""
        return list(self._tail)
