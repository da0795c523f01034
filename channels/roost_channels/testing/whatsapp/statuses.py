"""Moves outbound messages through sent, delivered, read or failed, and reports each status."""

import asyncio
from typing import Any, Generic

from roost_channels.testing.tasks import Tasks
from roost_channels.testing.whatsapp.state import MessageT, StatusPlan, WhatsAppCore, WhatsAppUser

Report = dict[str, Any]
ReportQueue = asyncio.Queue[Report | None]


class StatusEngine(Generic[MessageT]):
    """Runs one task per message: two messages to one user may overtake each other.

    Subclasses set the provider's error codes and word the reports.
    blocked: the code for a user who blocked the business.
    outside_window: the code for free text after the service window closed.
    """

    blocked: int
    outside_window: int

    def __init__(self, core: WhatsAppCore[Any, MessageT, Any]) -> None:
        self._core = core
        self._tasks = Tasks("messages")

    @property
    def running(self) -> int:
        """How many messages have not reached their last status."""
        return len(self._tasks)

    def accept(self, message: MessageT) -> None:
        """Start a message on the next plan; the acceptance itself is not reported."""
        plans = self._core.plans
        plan = plans.popleft() if plans else self._core.settings.status_plan
        self._tasks.start(self._run(message, plan))

    async def stop(self) -> None:
        """Stop all messages where they are."""
        await self._tasks.stop()

    async def find_error(self, message: MessageT, user: WhatsAppUser) -> int | None:
        """The code of the error that keeps a message from being sent, or None."""
        if user.has_blocked:
            return self.blocked
        if message.is_template or self._core.is_open(user):
            return None
        return self.outside_window

    def failed_status(self, plan: StatusPlan, code: int) -> str:
        """The provider's status for a message that failed with `code`."""
        return "failed"

    def report(self, message: MessageT, status: str) -> Report:
        """The provider's report of a status."""
        raise NotImplementedError

    async def send_report(self, message: MessageT, report: Report, plan: StatusPlan) -> None:
        """Send a report to the account's owner."""
        raise NotImplementedError

    async def finish(self, message: MessageT) -> None:
        """Clean up after the last report of a message."""

    async def _run(self, message: MessageT, plan: StatusPlan) -> None:
        """Report in a task of its own, so that a slow webhook delays no message."""
        reports: ReportQueue = asyncio.Queue()
        reporting = asyncio.create_task(self._send_reports(message, plan, reports))
        try:
            await self._advance(message, plan, reports)
            reports.put_nowait(None)
            await reporting
        finally:
            reporting.cancel()
        await self.finish(message)

    async def _send_reports(
        self, message: MessageT, plan: StatusPlan, reports: ReportQueue
    ) -> None:
        """Report in order; a shuffled plan waits for the end and goes backwards."""
        shuffled: list[Report] = []
        while (report := await reports.get()) is not None:
            if plan.shuffled:
                shuffled.append(report)
            elif not plan.silent:
                await self.send_report(message, report, plan)
        for report in reversed(shuffled):
            if not plan.silent:
                await self.send_report(message, report, plan)

    async def _advance(self, message: MessageT, plan: StatusPlan, reports: ReportQueue) -> None:
        core = self._core
        await core.clock.sleep(plan.sent_s)
        if message.status == "canceled":
            return
        user = core.user(message.user)
        code = plan.error_code or await self.find_error(message, user)
        if code is not None:
            message.error_code = code
            self._set_status(message, self.failed_status(plan, code), reports)
            return
        message.sent_at = core.now()
        self._set_status(message, "sent", reports)
        await core.clock.sleep(plan.delivered_s)
        # The planned time, not the time when this task runs: the order on the screen follows it.
        message.delivered_at = message.sent_at + plan.delivered_s
        user.typing_until = float("-inf")
        self._set_status(message, "delivered", reports)
        if plan.read_s is not None:
            await core.clock.sleep(plan.read_s)
            self._set_status(message, "read", reports)

    def _set_status(self, message: MessageT, status: str, reports: ReportQueue) -> None:
        message.status, message.updated_at = status, self._core.now()
        self._core.changed()
        reports.put_nowait(self.report(message, status))
