"""A model by rule: it thinks as long as asked, and answers each question with its word."""

import asyncio
from dataclasses import dataclass

from roost.errors import TurnStopped
from roost.turn import Finish
from roost_platform.chaos.answers import answer, questions, think_s
from roost_platform.db.stores import Stores
from roost_workflows.ports import (
    ModelCall,
    PlannedCall,
    Snapshot,
    TranscriptMessage,
    TurnContext,
    TurnRecord,
)

TICK_S = 0.5


@dataclass(frozen=True, slots=True)
class SimStep:
    """The fields of a step that the turn loop reads."""

    finish: Finish
    call_ids: tuple[str, ...] = ()


class SimTurn:
    """The ports of a turn over the platform's store; every method commits before it returns."""

    def __init__(self, stores: Stores, record: TurnRecord) -> None:
        self._turns = stores.turns
        self._waits = stores.waits
        self._turn = record

    async def generate(self, step: int, *, last: bool) -> SimStep:
        """Think for the time that was asked for, then commit an answer or a tool call."""
        turn_id = self._turn.turn_id
        if (done := await self._turns.step(turn_id, step)) is not None:
            return SimStep(done.finish, tuple(call.call_id for call in done.calls))
        await self._check()
        context = await self._turns.context(turn_id, step)
        texts = texts_since_answer(context)
        await self._think(texts)
        wants_tool = (
            any(question.tool for question in questions(texts))
            and not last
            and not _has_called(context)
        )
        calls = (PlannedCall(f"{turn_id}-{step}", "clock", "{}", "idempotent"),)
        done = await self._turns.commit_step(
            turn_id,
            step,
            ModelCall(
                "tools" if wants_tool else "answer",
                "" if wants_tool else answer(texts),
                calls if wants_tool else (),
                model="by rule",
            ),
        )
        return SimStep(done.finish, tuple(call.call_id for call in done.calls))

    async def call_tool(self, step: int, call_id: str) -> bool:
        """Commit the one result that the tool has."""
        await self._check()
        call = await self._turns.begin_call(self._turn.turn_id, step, call_id)
        if call.state in ("planned", "running"):
            await self._turns.finish_call(
                self._turn.turn_id, step, call_id, status="ok", result="noon"
            )
        return False

    async def park(self, step: int) -> bool:
        """Let the turn wait unless something can go on."""
        return await self._waits.park(self._turn.turn_id)

    async def close_group(self, step: int) -> None:
        """Close the step's group of calls."""
        await self._check()
        await self._turns.close_group(self._turn.turn_id, step)

    async def _think(self, texts: list[str]) -> None:
        """Show progress while time passes; a recorded stop ends it."""
        left = think_s(texts)
        await self._turns.progress(self._turn.turn_id, Snapshot("thinking"))
        while left > 0:
            await asyncio.sleep(min(left, TICK_S))
            left -= TICK_S
            await self._check()
            await self._turns.progress(
                self._turn.turn_id, Snapshot("answering", answer(texts)[:40])
            )

    async def _check(self) -> None:
        if await self._turns.stop_requested(self._turn.turn_id):
            raise TurnStopped


def texts_since_answer(context: TurnContext) -> list[str]:
    """What people wrote since the last answer, oldest first."""
    texts: list[str] = []
    for message in context.messages:
        if message.role == "user":
            texts.append(message.content)
        elif message.role == "assistant" and not message.tool_calls:
            texts = []
    return texts


def _has_called(context: TurnContext) -> bool:
    """A tool was called since the last question."""
    last: TranscriptMessage | None = context.messages[-1] if context.messages else None
    return last is not None and last.role == "tool"
