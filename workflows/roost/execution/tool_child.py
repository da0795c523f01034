"""The process in which synchronous tools run, one call at a time; see tool_process.py.

One JSON object a line. In: `{"modules"}` first, then calls and `{"stop"}`. Out: `{"ready"}`,
then for each call any number of `{"progress"}` and `{"plan"}`, and at last `{"end", "text"}`.
"""

import asyncio
import contextlib
import ctypes
import importlib
import inspect
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Final

from roost.context import Context, NoteRecord, Person, SessionInfo
from roost.errors import ModelRetry, ToolFailed
from roost.execution.results import text_of
from roost.text import RESULT_BYTES_MAX, cap, result_text
from roost.tools import Tool
from roost.waits import Wait, fields_of

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
PROGRESS_BYTES_MAX: Final = 4096  # of one line that people see
PLAN_STEPS_MAX: Final = 32
NOT_HERE: Final = "Notes and files are for tools declared with async def."

Send = Callable[[Mapping[str, Any]], None]


class _NoNotes:
    """Notes live in the worker; only an async tool reaches them."""

    async def add(self, person_id: str, text: str, key: str) -> NoteRecord:
        raise ToolFailed(NOT_HERE)

    async def list(self, person_id: str) -> Sequence[NoteRecord]:
        raise ToolFailed(NOT_HERE)

    async def remove(self, person_id: str, note_id: int) -> bool:
        raise ToolFailed(NOT_HERE)


class ToolChild:
    """Runs the calls that arrive; a thread beside it reads stops, and ends all with the worker."""

    def __init__(self, lines: BinaryIO, out: BinaryIO) -> None:
        self._lines = lines
        self._out = out
        self._calls: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._writing = threading.Lock()
        self._context: Context | None = None

    def run(self) -> None:
        """Import the tools' modules, then run calls until this process is killed."""
        for module in json.loads(self._lines.readline() or b"{}").get("modules", ()):
            with contextlib.suppress(BaseException):  # told by the call that needs it
                importlib.import_module(module)
        threading.Thread(target=self._read, name="orders", daemon=True).start()
        self._send({"ready": True})
        while True:
            self._send(self._answer(self._calls.get()))

    def _read(self) -> None:
        for line in iter(self._lines.readline, b""):
            order = json.loads(line)
            if "stop" not in order:
                self._calls.put(order)
            elif self._context is not None:
                self._context.stop()
        os._exit(0)

    def _send(self, message: Mapping[str, Any]) -> None:
        with self._writing:
            self._out.write(json.dumps(message).encode() + b"\n")
            self._out.flush()

    def _answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        try:
            tool = resolve(order["module"], order["attribute"])
        except BaseException as error:
            return {"end": "unloaded", "text": f"{type(error).__name__}: {error}"}
        try:
            if "check" in order:
                return _checked(tool, order["check"])
            self._context = context = self._make_context(order["context"])
            result = tool.function(**tool.bind(context, tool.parse(order["arguments"])))
            limit = order.get("result_bytes", RESULT_BYTES_MAX)
            if isinstance(result, Wait):
                return {"end": "wait", "text": json.dumps(fields_of(result))}
            text = text_of(tool, result, is_typed=order.get("is_typed", False))
            return {"end": "ok", "text": cap(text, limit)}
        except ModelRetry as error:
            return {"end": "retry", "text": cap(str(error))}
        except ToolFailed as error:
            return {"end": "failed", "text": cap(str(error))}
        except BaseException as error:  # SystemExit as well: it is the tool's, not this process's
            return {
                "end": "error",
                "text": cap(f"{type(error).__name__}: {error}"),
                "kind": type(error).__name__,
                "trace": cap(traceback.format_exc()),
            }
        finally:
            self._context = None

    def _make_context(self, fields: Mapping[str, Any]) -> Context:
        def show(text: str) -> None:
            self._send({"progress": cap(text, PROGRESS_BYTES_MAX)})

        def plan(steps: tuple[str, ...]) -> None:
            kept = [cap(step, PROGRESS_BYTES_MAX) for step in steps[:PLAN_STEPS_MAX]]
            self._send({"plan": kept})

        return Context(
            key=fields["key"],
            attempt=fields["attempt"],
            person=Person(**fields["person"]),
            session=SessionInfo(**fields["session"]),
            payload=fields["payload"],
            notes=_NoNotes(),
            on_progress=show,
            on_plan=plan,
        )


def resolve(module: str, attribute: str) -> Tool:
    """The tool that a module has under this name. Raises ImportError, or what the module raises."""
    tool = getattr(importlib.import_module(module), attribute, None)
    if not isinstance(tool, Tool):
        raise ImportError(f"{module}.{attribute} is not a tool")
    return tool


def _checked(tool: Tool, key: str) -> dict[str, Any]:
    """What a verifiable tool's `check` says of a call: `none` or its result as text."""
    if tool.check is None:
        raise ToolFailed(f"{tool.name} has no check.")
    effect = tool.check(key)
    if inspect.isawaitable(effect):
        effect = asyncio.run(_awaited(effect))
    if effect is None or effect is False:
        return {"end": "none", "text": ""}
    return {"end": "ok", "text": "done" if effect is True else cap(result_text(effect))}


async def _awaited(result: Any) -> Any:
    return await result


def main(worker: int) -> None:
    """Serve the worker of this pid over the standard streams, until it closes them or ends."""
    if sys.platform == "linux":  # elsewhere the end of its stream says so
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != worker:
            os._exit(1)
        # Programs whose own parents end stay ours, so that a kill finds them.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a tool prints goes to the worker's log, not between our lines.
    lines, out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    with contextlib.suppress(BrokenPipeError):
        ToolChild(lines, out).run()
    os._exit(0)
