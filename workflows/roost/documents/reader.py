"""Documents as text, read in a process that is killed when it takes too long."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, Final
from weakref import WeakKeyDictionary

from roost.documents.problems import Problem

FILE_BYTES_MAX: Final = 20 * 1024 * 1024
TEXT_CHARS_MAX: Final = 400_000  # of one document; what follows is not read
READ_S: Final = 20.0
PROCESSES_MAX: Final = 2
LINE_BYTES_MAX: Final = 4 * 1024 * 1024
PROBLEMS: Final[dict[str, str]] = {
    "encrypted": "it is encrypted and needs a password",
    "no_text": "it has no text; its pages may be scanned pictures",
    "empty": "it is empty",
    "broken": "it is damaged",
    "not_text": "its kind can't be read as text",
    "old_word": "it is an old Office file; a .docx or PDF file can be read",
    "encoding": "the encoding of its letters is not known; saved as UTF-8 it can be read",
    "too_large": "it is too large to be read",
    "too_slow": f"reading it takes longer than {READ_S:.0f} s",
}
_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from roost.documents.child import main; main(*(int(one) for one in sys.argv[2:]))"
)
_slots: MutableMapping[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of a document.

    problem: why there is no text, else empty. pages: of the whole document, 0 where it has none.
    is_cut: whether the document goes on behind the text.
    """

    text: str = ""
    problem: Problem = ""
    pages: int = 0
    is_cut: bool = False

    @property
    def reason(self) -> str:
        """The problem in words."""
        return PROBLEMS.get(self.problem, "")


async def read_document(data: bytes, *, seconds: float = READ_S) -> Reading:
    """The document's text, at most TEXT_CHARS_MAX of it; what was read before the time was over.

    At most PROCESSES_MAX documents are read at the same time; others wait.
    """
    if len(data) > FILE_BYTES_MAX:
        return Reading(problem="too_large")
    slots = _slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(PROCESSES_MAX))
    async with slots:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(os.getpid())),
            *(str(TEXT_CHARS_MAX), str(max(1, round(seconds)))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},  # none of the worker's secrets
            start_new_session=True,
            limit=LINE_BYTES_MAX,
        )
        try:
            return await _read(process, data, seconds)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            # As in program.py: a pipe that somebody else holds open would be warned of at exit.
            process._transport.close()  # type: ignore[attr-defined]


async def _read(process: asyncio.subprocess.Process, data: bytes, seconds: float) -> Reading:
    so_far = Reading()
    feeding = asyncio.ensure_future(_feed(process, data))
    try:
        async with asyncio.timeout(seconds), contextlib.aclosing(_lines(process)) as lines:
            async for line in lines:
                if "end" in line:
                    return replace(so_far, problem="" if so_far.text else line["end"])
                text, is_cut = so_far.text + line["text"], bool(line.get("is_cut"))
                so_far = Reading(text, "", line["pages"], is_cut)
    except TimeoutError:
        return _ended(so_far, "too_slow")
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
    # The process ended without a word: by its limits of memory or time, or by a fault in C.
    await process.wait()
    is_limit = process.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
    return _ended(so_far, "too_slow" if is_limit else "broken")


def _ended(so_far: Reading, problem: Problem) -> Reading:
    return replace(so_far, is_cut=True) if so_far.text else Reading(problem=problem)


async def _lines(process: asyncio.subprocess.Process) -> AsyncGenerator[dict[str, Any], None]:
    """What the process says, until it ends or says what is not ours."""
    assert process.stdout is not None
    while True:
        try:
            raw = await process.stdout.readline()
            line: Any = json.loads(raw) if raw else None
        except ValueError:
            return
        is_piece = isinstance(line, dict) and isinstance(line.get("text"), str)
        is_end = isinstance(line, dict) and line.get("end") in ("", *PROBLEMS)
        if not (is_end or (is_piece and isinstance(line.get("pages"), int))):
            return
        yield line


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.write(data)
        await process.stdin.drain()
        process.stdin.close()
