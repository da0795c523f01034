"""Running one tool call to a typed outcome; only a cancellation raises through here."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Final, Literal

from roost.context import Context
from roost.errors import ModelRetry, ToolFailed
from roost.running.threads import run_in_thread
from roost.text import cap, result_text
from roost.tools import Tool

log = logging.getLogger(__name__)

Status = Literal["ok", "error", "cancelled", "unknown"]
CHECK_TIMEOUT_S: Final = 30.0
NOT_REPEATED: Final = "It may or may not have taken effect. Do not repeat it; tell the user so."


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended and the text the model reads."""

    status: Status
    text: str


async def run_tool(tool: Tool, arguments: str, context: Context) -> Outcome:
    """Validate the arguments, run the tool within its time limit, and return the result as text.

    Raises only CancelledError: the caller knows whether a stop or a dying worker caused it, and
    asks `interrupted` for the outcome of a stop.
    """
    try:
        values = tool.bind(context, tool.parse(arguments))
        async with asyncio.timeout(tool.timeout_s) as limit:
            result = await _invoke(tool, values, context)
        return Outcome("ok", cap(result_text(result)))
    except ModelRetry as error:
        return Outcome("error", cap(f"{error} Correct the call and try again."))
    except ToolFailed as error:
        return Outcome("error", cap(str(error)))
    except asyncio.CancelledError:
        context.stop()
        raise
    except Exception as error:
        if isinstance(error, TimeoutError) and limit.expired():
            context.stop()
            return await interrupted(tool, context.key, f"It was ended after {tool.timeout_s:g} s.")
        # The model gets the error, operators get the trace: both can act on it.
        log.exception("tool %s failed", tool.name)
        return Outcome("error", cap(f"{tool.name} failed: {type(error).__name__}: {error}"))


async def _invoke(tool: Tool, values: dict[str, Any], context: Context) -> Any:
    if tool.is_async:
        return await tool.function(**values)
    return await run_in_thread(lambda: tool.function(**values), tool.name, context.stop)


async def interrupted(tool: Tool, key: str, how: str, check_s: float = CHECK_TIMEOUT_S) -> Outcome:
    """The outcome of a call that began and did not end, judged by its effect class."""
    if tool.effect == "pure":
        return Outcome("cancelled", how)
    if tool.effect == "verifiable":
        return await verify(tool, key, check_s) or Outcome("cancelled", f"{how} It had no effect.")
    return Outcome("unknown", f"{how} {NOT_REPEATED}")


async def verify(tool: Tool, key: str, check_s: float = CHECK_TIMEOUT_S) -> Outcome | None:
    """Ask a verifiable tool whether the call `key` took effect; None when it did not."""
    try:
        async with asyncio.timeout(check_s):
            found = await tool.has_happened(key)
    except Exception as error:
        log.exception("check of tool %s failed", tool.name)
        reason = f"{type(error).__name__}: {error}"
        return Outcome("unknown", cap(f"Its check failed ({reason}). {NOT_REPEATED}"))
    if found is None:
        return None
    return Outcome("ok", "done" if found is True else cap(result_text(found)))
