"""A model by rule: it thinks as long as asked, has done what was asked for, and answers each
question with its word. All else in a turn is done by the worker's own activities.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from roost.errors import TurnStopped
from roost.turn import Finish
from roost_inference.client.assembly import Completed, Delta
from roost_inference.client.engine_client import ChatRequest
from roost_platform.chaos.agents import REGISTRY
from roost_platform.chaos.answers import answer, think_s, wanted
from roost_platform.db.stores import Stores
from roost_workflows.ports import ModelCall, PlannedCall, Snapshot, TurnContext
from roost_workflows.state import CallInput, GenerateInput, GroupInput
from roost_workflows.testing.performing import perform
from roost_workflows.turn.activities import Activities

TICK_S = 0.5


@dataclass(frozen=True, slots=True)
class SimStep:
    """The fields of a step that the turn loop reads."""

    finish: Finish
    call_ids: tuple[str, ...] = ()


class NoEngine:
    """The engine of flows that ask no model."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        """Nothing is ever asked."""
        raise AssertionError("the model by rule has no engine")
        yield


class SimTurn:
    """The ports of a turn over the worker's activities; a model step is made by the rule."""

    def __init__(
        self, activities: Activities, stores: Stores, turn_id: str, *, is_stopped: bool
    ) -> None:
        self._activities = activities
        self._turns = stores.turns
        self._turn_id = turn_id
        self._is_stopped = is_stopped
        self._agent = ""

    async def generate(self, step: int, *, last: bool) -> Any:
        """Think for the time that was asked for, then commit an answer or calls of tools."""
        turn_id = self._turn_id
        await self._check()
        if REGISTRY.flow((await self._turns.get(turn_id)).agent) is not None:
            return await perform(self._activities.generate, GenerateInput(turn_id, step, last))
        if (done := await self._turns.step(turn_id, step)) is not None:
            return SimStep(done.finish, tuple(call.call_id for call in done.calls))
        context = await self._turns.context(turn_id, step)
        texts, called = since_answer(context)
        await self._think(texts)
        calls = [] if last else wanted(texts, called)
        agent = REGISTRY.agent(context.turn.agent)
        planned = []
        for number, call in enumerate(calls):
            tool = agent.tool(call.tool) if agent is not None else None
            effect = tool.effect if tool is not None else "unsafe"
            planned.append(PlannedCall(f"{turn_id}-{step}-{number}", call.tool, call.json, effect))
        done = await self._turns.commit_step(
            turn_id,
            step,
            ModelCall(
                "tools" if planned else "answer",
                "" if planned else answer(texts),
                tuple(planned),
                model="by rule",
            ),
        )
        return SimStep(done.finish, tuple(call.call_id for call in done.calls))

    async def call_tool(self, step: int, call_id: str) -> bool:
        """Run a call by the worker's own code."""
        await self._check()
        return bool(
            await perform(self._activities.call_tool, CallInput(self._turn_id, step, call_id))
        )

    async def park(self, step: int) -> bool:
        """Let the turn wait unless something can go on."""
        await self._check()
        return bool(await perform(self._activities.park, GroupInput(self._turn_id, step)))

    async def close_group(self, step: int) -> None:
        """Close the step's group of calls."""
        await self._check()
        await perform(self._activities.close_group, GroupInput(self._turn_id, step))

    async def _think(self, texts: list[str]) -> None:
        """Show progress while time passes; a recorded stop ends it."""
        left = think_s(texts)
        await self._turns.progress(self._turn_id, Snapshot("thinking"))
        while left > 0:
            await asyncio.sleep(min(left, TICK_S))
            left -= TICK_S
            await self._check()
            await self._turns.progress(self._turn_id, Snapshot("answering", answer(texts)[:40]))

    async def _check(self) -> None:
        if self._is_stopped or await self._turns.stop_requested(self._turn_id):
            raise TurnStopped


def since_answer(context: TurnContext) -> tuple[list[str], str]:
    """What was written since the last answer, oldest first, and the arguments of the calls."""
    texts: list[str] = []
    called: list[str] = []
    for message in context.messages:
        if message.role == "user":
            texts.append(message.content)
        elif message.note_kind == "scheduled":
            continue  # the result of a job, which came in between
        elif message.role == "assistant" and not message.tool_calls:
            texts, called = [], []
        elif message.role == "assistant":
            called += [arguments for _, _, arguments in message.tool_calls]
    return texts, " ".join(called)
