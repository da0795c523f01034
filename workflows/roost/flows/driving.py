"""Driving a flow's function and its branches from step to step, without an event loop."""

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from roost.errors import CallFailed, FlowEdited, FlowError, FlowLimit, Stopped
from roost.execution.threads import Interrupted
from roost.flows.journal import ENDED, Entry, EntryState, Gather, Step

log = logging.getLogger(__name__)

FOREIGN: Final = (
    "A flow awaits only what its ctx gives, because that alone is kept. Put other work into a tool "
    "and run it with `await ctx.call(tool, …)`; wait with `await ctx.sleep(…)`."
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a flow tells people of its progress: a line, and the lines of a plan."""

    text: str
    plan: tuple[str, ...] = ()


@dataclass(slots=True)
class Frame:
    """The function itself or one branch: how its paths begin, and how many steps it took."""

    prefix: str = ""
    count: int = 0

    def next_path(self) -> str:
        """The path of the step that comes now."""
        path = f"{self.prefix}{self.count}"
        self.count += 1
        return path


@dataclass(frozen=True, slots=True)
class End:
    """A branch that has ended."""

    value: Any = None
    error: Exception | None = None


class Frozen(BaseException):
    """Raised by the ctx of a function that is only being closed: nothing it does counts."""


class Run:
    """One advance. The function's ctx works on it."""

    def __init__(
        self,
        journal: Sequence[Entry],
        *,
        steps_max: int,
        stopped: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.clock = clock
        self.shown: Shown | None = None
        self.steps: dict[str, Step[Any]] = {}
        self.undo: dict[str, Step[Any]] = {}
        self.new: list[Entry] = []
        self.fatal: FlowError | None = None
        self.made: list[Step[Any]] = []  # to find those that nobody awaited
        self._steps_max = steps_max
        self._stopped = stopped
        self._journal = list(journal)
        self._numbers = {entry.path: number for number, entry in enumerate(journal, 1)}
        self._branches = _branch_counts(self._numbers)
        self._latest = latest_steps(self._numbers)
        self._seen: set[str] = set()
        self._frames: list[Frame] = []
        self._begun: list[Coroutine[Any, Any, Any]] = []
        self._is_frozen = False

    def drive(self, coroutine: Coroutine[Any, Any, Any], frame: Frame) -> End | None:
        """Run a branch as far as it comes; None when it waits. Raises FlowError where the whole
        flow can't go on.
        """
        self._begun.append(coroutine)
        value: Any = None
        error: Exception | None = None
        while True:
            self._frames.append(frame)
            try:
                asked = coroutine.send(value) if error is None else coroutine.throw(error)
            except StopIteration as end:
                self._raise_fatal()
                return End(end.value)
            except (Frozen, Interrupted):
                raise
            except BaseException as failure:  # a flow's sys.exit() must not end the worker
                self._raise_fatal()
                return End(error=_as_error(failure))
            finally:
                self._frames.pop()
            self._raise_fatal()
            if isinstance(asked, Step):
                got = self._take(asked, frame.next_path())
            elif isinstance(asked, Gather):
                got = self._gather(asked, frame.next_path())
            else:
                raise FlowError(f"{_place(coroutine)}: it awaits {asked!r}. {FOREIGN}")
            if got is None:
                return None
            value, error = got.value, got.error

    def note(self, step: Step[Any], result: Callable[[], str]) -> Entry:
        """A step that needs no waiting: its entry, as it was before or with this result."""
        if self._is_frozen or not self._frames:
            raise Frozen
        path = self._frames[-1].next_path()
        try:
            known = self._known(step, path)
        except FlowError as error:
            self.fatal = error
            raise
        step.is_awaited = True
        if step.op == "compensate":
            self.undo[path] = step
        if known is not None:
            return known
        state: EntryState = "planned" if step.op == "compensate" else "ok"
        entry = Entry(path, step.op, step.name, step.arguments, state, result())
        self.new.append(entry)
        return entry

    def left_out(self) -> Entry | None:
        """The first entry that the function, now at its end, did not come to."""
        return next((entry for entry in self._journal if entry.path not in self._seen), None)

    def number(self, entry: Entry) -> int:
        """The entry's number in the journal, from 1."""
        return self._numbers[entry.path]

    def close(self) -> None:
        """End all functions that wait. Their `finally` blocks run, but can do nothing."""
        self._is_frozen = True
        for coroutine in reversed(self._begun):
            try:
                coroutine.close()
            except Interrupted:
                raise
            except BaseException as error:  # it can do nothing any more, so it can't fail either
                log.debug("a flow that was only closed raised %s", type(error).__name__)

    def _take(self, step: Step[Any], path: str) -> End | None:
        step.is_awaited = True
        known = self._known(step, path)
        if known is not None and known.state in ENDED:
            try:
                return End(value_of(step, known))
            except FlowError as error:
                return End(error=error)
        if self._stopped:
            return End(error=Stopped())
        if known is None:
            why = step.refusal(self.clock()) if step.refusal is not None else ""
            entry = Entry(path, step.op, step.name, step.arguments)
            self.new.append(replace(entry, state="error", result=why) if why else entry)
            if why:
                return End(error=FlowLimit(why))
        self.steps[path] = step
        return None

    def _gather(self, gather: Gather, path: str) -> End | None:
        known = self._branches.get(path, 0)
        if path in self._numbers or known > len(gather.branches):
            raise self._edited(path, f"gather() of {len(gather.branches)}")
        branches = [_coroutine(branch) for branch in gather.branches]
        self._begun += branches
        ends = [
            self.drive(branch, Frame(f"{path}/{number}/")) for number, branch in enumerate(branches)
        ]
        if any(end is None for end in ends):
            return None
        ended = [end for end in ends if end is not None]
        failed = next((end for end in ended if end.error is not None), None)
        return failed or End(tuple(end.value for end in ended))

    def _known(self, step: Step[Any], path: str) -> Entry | None:
        """The entry of this step if there is one. Raises FlowEdited, FlowLimit."""
        number = self._numbers.get(path)
        if number is None:
            if path in self._branches:
                raise self._edited(path, step.words)
            if (later := self._later(path)) is not None:
                entry = self._journal[later - 1]
                told = f"step {later} was {entry.words}, now {step.words} comes before it"
                raise FlowEdited(told, later)
            if len(self._journal) + len(self.new) >= self._steps_max:
                raise FlowLimit(f"A flow has at most {self._steps_max} steps.")
            return None
        entry = self._journal[number - 1]
        self._seen.add(path)
        if not step.fits(entry):
            raise self._edited(path, step.words, step)
        return entry

    def _later(self, path: str) -> int | None:
        """The first step that the function took behind this place, where it has passed it."""
        passed = [
            number
            for frame, count in places(path)
            if self._latest.get(frame, count) > count
            for other, number in self._numbers.items()
            if any(at == frame and its > count for at, its in places(other))
        ]
        return min(passed, default=None)

    def _edited(self, path: str, now: str, step: Step[Any] | None = None) -> FlowEdited:
        entry = next(
            one for one in self._journal if one.path == path or one.path.startswith(f"{path}/")
        )
        number = self._numbers[entry.path]
        is_same = step is not None and step.words == entry.words
        with_what = " with other arguments" if is_same else ""
        return FlowEdited(f"step {number} was {entry.words}, now {now}{with_what}", number)

    def _raise_fatal(self) -> None:
        if self.fatal is not None:
            raise self.fatal


def value_of(step: Step[Any], entry: Entry) -> Any:
    """What the function gets for an entry that has ended. Raises FlowError."""
    if entry.state != "ok" and step.op == "call":
        raise CallFailed(entry.name, entry.state, entry.result)
    return step.decode(entry)


def _as_error(failure: BaseException) -> Exception:
    """What a branch raised, as an error that ends the flow and nothing else."""
    if isinstance(failure, Exception):
        return failure
    error = FlowError(f"The flow raised {type(failure).__name__}. End it with `return`.")
    error.__cause__ = failure
    return error.with_traceback(failure.__traceback__)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _coroutine(branch: Awaitable[Any]) -> Coroutine[Any, Any, Any]:
    return branch if isinstance(branch, Coroutine) else _await(branch)


def _place(coroutine: Coroutine[Any, Any, Any]) -> str:
    """The file and line at which a coroutine waits."""
    frame = getattr(coroutine, "cr_frame", None)
    return "" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def places(path: str) -> list[tuple[str, int]]:
    """Where a path stands in each of its frames: `2/1/0` is step 2, and step 0 of its branch 1."""
    parts = path.split("/")
    return [("/".join(parts[:at]), int(parts[at])) for at in range(0, len(parts), 2)]


def latest_steps(paths: Iterable[str]) -> dict[str, int]:
    """The last step that the function took in each of its frames."""
    latest: dict[str, int] = {}
    for path in paths:
        for frame, count in places(path):
            latest[frame] = max(latest.get(frame, 0), count)
    return latest


def _branch_counts(paths: Mapping[str, int]) -> dict[str, int]:
    """How many branches each gather of these paths has at least, by its path."""
    counts: dict[str, int] = {}
    for path in paths:
        parts = path.split("/")
        for at in range(1, len(parts), 2):
            above = "/".join(parts[:at])
            counts[above] = max(counts.get(above, 0), int(parts[at]) + 1)
    return counts
