"""What becomes of an outbound message: sent, delivered, read or failed, and who is told."""

import asyncio
from typing import Any, Generic

from roost_channels.testing.tasks import Tasks
from roost_channels.testing.whatsapp.state import Core, MessageT, Person, StatusPlan

Report = dict[str, Any]
Told = asyncio.Queue[Report | None]


class StatusEngine(Generic[MessageT]):
    """One task per message, so that nothing keeps the order of two messages but the sender.

    blocked, outside_window: the provider's codes for what people and time refuse.
    """

    blocked: int
    outside_window: int

    def __init__(self, core: Core[Any, MessageT, Any]) -> None:
        self._core = core
        self._lives = Tasks("messages")

    @property
    def running(self) -> int:
        return len(self._lives)

    def accept(self, message: MessageT) -> None:
        """Start the life of a message; its acceptance itself is never reported."""
        plans = self._core.plans
        plan = plans.popleft() if plans else self._core.settings.status_plan
        self._lives.start(self._live(message, plan))

    async def stop(self) -> None:
        await self._lives.stop()

    # What a provider says of it

    async def problem(self, message: MessageT, person: Person) -> int | None:
        """The code of what keeps a message from being sent; None where nothing does."""
        if person.has_blocked:
            return self.blocked
        if message.is_template or self._core.is_open(person):
            return None
        return self.outside_window

    def failure(self, plan: StatusPlan, code: int) -> str:
        """The status of a message that failed."""
        return "failed"

    def report(self, message: MessageT, status: str) -> Report:
        """A status as the provider words it."""
        raise NotImplementedError

    async def tell(self, message: MessageT, report: Report, plan: StatusPlan) -> None:
        """Call the account's owner."""
        raise NotImplementedError

    async def end(self, message: MessageT) -> None:
        """All has happened and was told."""

    # What becomes of it

    async def _live(self, message: MessageT, plan: StatusPlan) -> None:
        """What becomes of it, and beside that the reports: a slow webhook delays no message."""
        told: Told = asyncio.Queue()
        telling = asyncio.create_task(self._tell(message, plan, told))
        try:
            await self._fare(message, plan, told)
            told.put_nowait(None)
            await telling
        finally:
            telling.cancel()
        await self.end(message)

    async def _tell(self, message: MessageT, plan: StatusPlan, told: Told) -> None:
        """Report in order; a shuffled plan waits for the end and goes backwards."""
        kept: list[Report] = []
        while (report := await told.get()) is not None:
            if plan.shuffled:
                kept.append(report)
            elif not plan.silent:
                await self.tell(message, report, plan)
        for report in reversed(kept):
            if not plan.silent:
                await self.tell(message, report, plan)

    async def _fare(self, message: MessageT, plan: StatusPlan, told: Told) -> None:
        core = self._core
        await core.clock.sleep(plan.sent_s)
        if message.status == "canceled":
            return
        person = core.person(message.person)
        code = plan.error_code or await self.problem(message, person)
        if code is not None:
            message.error_code = code
            self._reach(message, self.failure(plan, code), told)
            return
        message.sent_at = core.now()
        self._reach(message, "sent", told)
        await core.clock.sleep(plan.delivered_s)
        # As planned, not when this task gets its turn: the order on the screen hangs on it.
        message.delivered_at = message.sent_at + plan.delivered_s
        person.typing_until = float("-inf")
        self._reach(message, "delivered", told)
        if plan.read_s is not None:
            await core.clock.sleep(plan.read_s)
            self._reach(message, "read", told)

    def _reach(self, message: MessageT, status: str, told: Told) -> None:
        message.status, message.updated_at = status, self._core.now()
        self._core.changed()
        told.put_nowait(self.report(message, status))
