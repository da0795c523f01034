"""Running a flow's function over its journal, until it needs something that is not there yet."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from roost.context import Person, SessionInfo
from roost.errors import FlowEdited, FlowError, Stopped
from roost.flows.driving import FOREIGN, Frame, Run, Shown
from roost.flows.journal import Entry, Step
from roost.text import result_text

# Code of these waits for an event loop, which a flow does not have.
OF_EVENT_LOOPS: Final = frozenset({"asyncio", "anyio", "sniffio", "trio", "httpcore", "aiohttp"})


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """For whom a flow runs. key: identifies this run for ever."""

    key: str = "local"
    person: Person = field(default_factory=lambda: Person("tester", "Tester"))
    session: SessionInfo = field(default_factory=lambda: SessionInfo("local", "local", "console"))
    payload: str = ""


@dataclass(frozen=True, slots=True)
class Advance:
    """How far a flow came.

    state: done, failed, stopped, or open: it waits for entries that have not ended.
    text: the answer of one that is done. new: entries that the journal had not, in order.
    steps: the live steps of all entries that have not ended, by their paths.
    undo: the live steps of what it registered with `compensate`, by their paths, oldest first.
    """

    state: Literal["open", "done", "failed", "stopped"]
    text: str = ""
    error: BaseException | None = None
    new: tuple[Entry, ...] = ()
    steps: Mapping[str, Step[Any]] = field(default_factory=dict)
    undo: Mapping[str, Step[Any]] = field(default_factory=dict)
    shown: Shown | None = None


class Function(Protocol):
    """What is run over a journal: a Flow."""

    @property
    def max_steps(self) -> int:
        """Entries of its journal at most."""
        ...

    def begin(
        self, run: Run, facts: FlowFacts, values: Mapping[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        """The function as it begins."""
        ...


def advance(
    flow: Function,
    values: Mapping[str, Any],
    journal: Sequence[Entry],
    *,
    facts: FlowFacts | None = None,
    stopped: bool = False,
    clock: Callable[[], float] = time.time,
) -> Advance:
    """Run the flow's function over its journal until it ends or waits for entries without a result.

    values: its parsed input. journal: all entries so far, in the order in which they were made.
    stopped: the first step without a result raises Stopped. Pure but for `clock` and random
    numbers; new entries are to be stored before anything of them is done.
    """
    run = Run(journal, steps_max=flow.max_steps, stopped=stopped, clock=clock)
    try:
        coroutine = flow.begin(run, facts or FlowFacts(), values)
        with _without_loop():
            end = run.drive(coroutine, Frame())
        if end is None:
            return _advance(run, "open")
        if isinstance(end.error, Stopped) and stopped:
            return _advance(run, "stopped", error=end.error)
        if end.error is not None:
            return _advance(run, "failed", error=_explained(end.error))
        if stopped:
            return _advance(run, "stopped", error=Stopped())
        return _ended(run, end.value)
    except FlowError as error:
        return _advance(run, "failed", error=error)
    except RecursionError as error:
        return _advance(run, "failed", error=error)
    finally:
        with _without_loop():
            run.close()


@contextlib.contextmanager
def _without_loop() -> Iterator[None]:
    """Hide the event loop of this thread: tasks that the function starts would be in no journal."""
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)


def _ended(run: Run, value: Any) -> Advance:
    left = run.left_out()
    if left is not None:
        number = run.number(left)
        words = f"step {number} was {left.words}, now the flow ends before it"
        return _advance(run, "failed", error=FlowEdited(words, number))
    lost = next((step for step in run.made if not step.is_awaited), None)
    if lost is not None:
        words = (
            f"{lost.made_at}: {lost.words} was made and never awaited: write "
            f"`await ctx.{lost.op}(…)`."
        )
        return _advance(run, "failed", error=FlowError(words))
    return _advance(run, "done", text=result_text(value))


def _advance(
    run: Run,
    state: Literal["open", "done", "failed", "stopped"],
    *,
    text: str = "",
    error: BaseException | None = None,
) -> Advance:
    return Advance(state, text, error, tuple(run.new), run.steps, run.undo, run.shown)


def _explained(error: Exception) -> Exception:
    """An error of code that wanted an event loop, with what to do instead."""
    trace = error.__traceback__
    module, file, line = "", "", 0
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        here = trace.tb_frame.f_code.co_filename
        if not file and module.partition(".")[0] != "roost":
            file = here  # where the flow is
        line = trace.tb_lineno if here == file else line
        trace = trace.tb_next
    if isinstance(error, FlowError) or module.partition(".")[0] not in OF_EVENT_LOOPS:
        return error
    words = f"{Path(file).name}:{line}: {type(error).__name__}: {error}. {FOREIGN}"
    explained = FlowError(words)
    return explained.with_traceback(error.__traceback__)
