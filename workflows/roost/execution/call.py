"""Running one tool call to a typed outcome; only a cancellation raises through here."""

import asyncio
import contextlib
import inspect
import logging
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Literal

from roost.context import Context
from roost.errors import ModelRetry, ToolFailed
from roost.execution.results import text_of
from roost.execution.threads import run_in_thread
from roost.execution.tool_process import NotLoaded, ProcessDied, ToolError
from roost.execution.tool_processes import ToolProcesses
from roost.text import RESULT_BYTES_MAX, cap, result_text
from roost.tools import Tool
from roost.waits import Wait

log = logging.getLogger(__name__)

Note = Callable[[], AbstractContextManager[object]]
Status = Literal["ok", "error", "cancelled", "unknown"]
CHECK_TIMEOUT_S: Final = 30.0
NOT_REPEATED: Final = "It may or may not have taken effect. Do not repeat it; tell the user so."


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended and the text the model reads. `trace`: what a broken tool raised, which only
    operators read: its text may hold anything. `wait`: what it waits for instead of having ended.
    """

    status: Status
    text: str
    trace: str = ""
    wait: Wait | None = None


async def run_tool(
    tool: Tool,
    arguments: str,
    context: Context,
    processes: ToolProcesses | None = None,
    note: Note = contextlib.nullcontext,
    *,
    result_bytes: int = RESULT_BYTES_MAX,
    is_typed: bool = False,
) -> Outcome:
    """Validate the arguments, run the tool within its time limit, and return the result as text of
    at most `result_bytes`.

    processes: where synchronous tools run; without it, and those that no process can import, in a
    thread, inside of what `note` gives. is_typed: the text is for a flow, see `text_of`. Only
    the CancelledError of whoever cancelled this comes out: the caller knows whether a stop or a
    dying worker caused it, and asks `interrupted` for the outcome of a stop.
    """
    limit = asyncio.timeout(tool.timeout_s)
    try:
        values = tool.bind(context, tool.parse(arguments))
        if processes is not None and not tool.is_async and processes.takes(tool):
            async with processes.one(tool) as process:  # waiting for one is not the tool's time
                try:
                    async with limit:
                        done = await process.call(
                            *(tool, arguments, context, result_bytes), is_typed=is_typed
                        )
                    if isinstance(done, Wait):
                        return Outcome("ok", "", wait=done)
                    return Outcome("ok", done)
                except NotLoaded as error:
                    processes.cannot_load(tool, str(error))
            limit = asyncio.timeout(tool.timeout_s)
        async with limit:
            result = await _invoke(tool, values, context, note)
        if isinstance(result, Wait):
            return Outcome("ok", "", wait=result)
        return Outcome("ok", cap(text_of(tool, result, is_typed=is_typed), result_bytes))
    except ToolError as error:
        log.error("tool %s failed: %s", tool.name, error)
        return Outcome("error", unexpected(tool, error.kind), error.trace)
    except ProcessDied as error:
        log.error("tool %s: its process %s", tool.name, error)
        how = f"Its process {error}."
        if tool.effect == "pure":
            return Outcome("error", how)
        return await interrupted(tool, context.key, how, processes=processes)
    except TimeoutError as error:
        if not limit.expired():
            return _failed(tool, error)
        context.stop()
        how = f"It was ended after {tool.timeout_s:g} s."
        return await interrupted(tool, context.key, how, processes=processes)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            return _failed(tool, error)  # the tool's own: nobody has cancelled this call
        context.stop()
        raise
    except GeneratorExit:
        raise
    except BaseException as error:  # a tool's sys.exit() must not end the worker
        return _failed(tool, error)


def refusal(tool: Tool, arguments: str) -> Outcome | None:
    """Why the tool can't run with these arguments, None where it can: nobody is asked before that
    is known, and a yes counts for nothing else.
    """
    try:
        tool.parse(arguments)
    except Exception as error:  # types bring checks of their own, which may raise anything
        return _failed(tool, error)
    return None


def _failed(tool: Tool, error: BaseException) -> Outcome:
    """The model gets the fact, operators get the trace: both can act on it."""
    if isinstance(error, ModelRetry):
        return Outcome("error", cap(f"{error} Correct the call and try again."))
    if isinstance(error, ToolFailed):
        return Outcome("error", cap(str(error)))
    log.error("tool %s failed", tool.name, exc_info=error)
    trace = cap("".join(traceback.format_exception(error)))
    return Outcome("error", unexpected(tool, type(error).__name__), trace)


def unexpected(tool: Tool, kind: str) -> str:
    """What the model reads of a tool that broke: that it did, and the type of its error."""
    return f"{tool.name} failed with an unexpected error ({kind})."


async def _invoke(tool: Tool, values: dict[str, Any], context: Context, note: Note) -> Any:
    if tool.is_async:
        return await tool.function(**values)

    def call() -> Any:
        with note():
            return tool.function(**values)

    return await run_in_thread(call, tool.name, context.stop)


async def interrupted(
    tool: Tool,
    key: str,
    how: str,
    check_s: float = CHECK_TIMEOUT_S,
    *,
    processes: ToolProcesses | None = None,
) -> Outcome:
    """The outcome of a call that began and did not end, judged by its effect class."""
    if tool.effect == "pure":
        return Outcome("cancelled", how)
    if tool.effect == "verifiable":
        outcome = await verify(tool, key, check_s, processes=processes)
        return outcome or Outcome("cancelled", f"{how} It had no effect.")
    return Outcome("unknown", f"{how} {NOT_REPEATED}")


async def verify(
    tool: Tool,
    key: str,
    check_s: float = CHECK_TIMEOUT_S,
    *,
    processes: ToolProcesses | None = None,
) -> Outcome | None:
    """Ask a verifiable tool whether the call `key` took effect; None when it did not.

    A synchronous check runs where synchronous tools do.
    """
    try:
        async with asyncio.timeout(check_s):
            effect = await _check(tool, key, processes)
    except Exception as error:
        log.exception("check of tool %s failed", tool.name)
        kind = error.kind if isinstance(error, ToolError) else type(error).__name__
        trace = error.trace if isinstance(error, ToolError) else traceback.format_exc()
        return Outcome("unknown", f"Its check failed ({kind}). {NOT_REPEATED}", cap(trace))
    if effect is None:
        return None
    return Outcome("ok", "done" if effect is True else cap(result_text(effect)))


async def _check(tool: Tool, key: str, processes: ToolProcesses | None) -> Any:
    check = tool.check
    if check is None or inspect.iscoroutinefunction(check):
        return await tool.has_happened(key)
    if processes is not None and processes.takes(tool):
        try:
            async with processes.one(tool) as process:
                return await process.check(tool, key)
        except NotLoaded as error:
            processes.cannot_load(tool, str(error))
    effect = await run_in_thread(lambda: check(key), f"check of {tool.name}")
    if inspect.isawaitable(effect):
        effect = await effect
    return None if effect is False else effect
