"""Which turns a worker was computing for at any moment, kept where its sudden end does not reach.

A worker that froze or was killed can't say why. So each time it takes up work for a turn it writes
the turn's id into a small file in shared memory, and wipes it when it waits again. What still
stands there when the process is dead is what it died of, most likely; conversations that only
waited, for the engine or for a tool, are not blamed. It costs about a microsecond.
"""

import contextlib
import fcntl
import mmap
import os
import threading
from collections.abc import Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, TypeVar

from roost_workflows.policies import SUSPECTS_MAX

Result = TypeVar("Result")
PATTERN: Final = "worker-*.turns"
ID_BYTES: Final = 64
EMPTY: Final = bytes(ID_BYTES)


class Suspects:
    """The open notes of this process. Slot 0 is the event loop's, the others are for threads."""

    def __init__(self, memory: mmap.mmap | None = None, file: BinaryIO | None = None) -> None:
        self._memory = memory
        self._file = file  # its lock says that we live
        self._free = list(range(1, SUSPECTS_MAX))
        self._lock = threading.Lock()

    async def watched(self, turn_id: str, work: Coroutine[Any, Any, Result]) -> Result:
        """Await `work`, noting the turn while it computes and not while it waits."""
        if self._memory is None:
            return await work
        return await _Watched(self, turn_id, work)

    @contextlib.contextmanager
    def in_thread(self, turn_id: str) -> Iterator[None]:
        """Note the turn while the block runs in a thread; beyond SUSPECTS_MAX it is not noted."""
        with self._lock:
            slot = self._free.pop() if self._free else 0
        if slot:
            self.note(turn_id, slot)
        try:
            yield
        finally:
            if slot:
                self.note("", slot)
                with self._lock:
                    self._free.append(slot)

    def note(self, turn_id: str, slot: int = 0) -> None:
        """Write down which turn computes now; an empty id when none does."""
        if self._memory is not None:
            line = turn_id.encode()[:ID_BYTES].ljust(ID_BYTES, b"\0") if turn_id else EMPTY
            self._memory[slot * ID_BYTES : (slot + 1) * ID_BYTES] = line

    def close(self) -> None:
        """An orderly end: nothing is left to be read."""
        if self._memory is not None and self._file is not None:
            Path(self._file.name).unlink(missing_ok=True)
            self._memory.close()
            self._file.close()
            self._memory = None


class _Watched(Generic[Result]):
    """Drives a coroutine step by step, as its task would."""

    def __init__(self, suspects: Suspects, turn_id: str, work: Coroutine[Any, Any, Result]) -> None:
        self._suspects = suspects
        self._turn_id = turn_id
        self._work = work

    def __await__(self) -> Generator[Any, Any, Result]:
        value: Any = None
        error: BaseException | None = None
        while True:
            self._suspects.note(self._turn_id)
            try:
                waits_for = self._work.send(value) if error is None else self._work.throw(error)
            except StopIteration as end:
                result: Result = end.value
                return result
            finally:
                self._suspects.note("")
            try:
                value, error = (yield waits_for), None
            except BaseException as thrown:
                value, error = None, thrown


def open_suspects(folder: Path) -> Suspects:
    """Notes of this process in `folder`, removed by `close`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / f"worker-{os.getpid()}.turns", "w+b")  # noqa: SIM115
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    file.truncate(SUSPECTS_MAX * ID_BYTES)
    return Suspects(mmap.mmap(file.fileno(), SUSPECTS_MAX * ID_BYTES), file)


def left_behind(folder: Path) -> list[str]:
    """Turns that dead workers of this folder were computing for, one entry per worker and turn;
    each is reported once.

    What the event loop computed for is blamed alone. Threads are blamed where it only waited: one
    of them held the interpreter, the others may have slept.
    """
    turn_ids: list[str] = []
    for path in sorted(folder.glob(PATTERN)):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its worker lives: OSError
            notes = file.read(SUSPECTS_MAX * ID_BYTES)
            slots = (notes[at : at + ID_BYTES] for at in range(0, len(notes), ID_BYTES))
            loop, *threads = (slot.rstrip(b"\0").decode("ascii", "replace") for slot in slots)
            turn_ids += (
                [loop] if loop else [turn_id for turn_id in dict.fromkeys(threads) if turn_id]
            )
            path.unlink()
    return turn_ids
