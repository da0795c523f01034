"""A model by rule: it thinks as long as asked, has done what was asked for, and answers each
question with its word. All else in a turn is done by the worker's own activities.
"""

import asyncio
import math
from collections.abc import AsyncGenerator

from roost_inference.client.assembly import Completed, Delta, ToolCall
from roost_inference.client.engine_client import ChatRequest
from roost_platform.chaos.answers import answer, since_answer, think_s, wanted

TICK_S = 0.5


class RuleModel:
    """The engine of a simulation's worker."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        """Think for the time that was asked for, then say an answer or calls of tools."""
        texts, called = since_answer(request.messages)
        calls = [] if request.extra.get("tool_choice") == "none" else wanted(texts, called)
        text = "" if calls else answer(texts)
        ticks = math.ceil(think_s(texts) / TICK_S)
        for tick in range(ticks):
            await asyncio.sleep(TICK_S)
            if part := text[len(text) * tick // ticks : len(text) * (tick + 1) // ticks]:
                yield Delta(part)
        asked = tuple(ToolCall(f"c{n}", call.tool, call.json) for n, call in enumerate(calls))
        yield Completed(text, asked, "tool_calls" if asked else "stop", "by rule", "m", 10, 0, 5)
