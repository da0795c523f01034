"""What becomes of an outbound message: sent, delivered, read or failed, and the status webhooks."""

import asyncio
from typing import Any

from roost_channels.testing.cloud.errors import GraphError
from roost_channels.testing.cloud.state import CloudCore, CloudMessage, CloudPerson, CloudPlan
from roost_channels.testing.cloud.webhooks import CloudCaller

OUTSIDE_WINDOW, UNDELIVERABLE = 131047, 131026
RUNNING_MAX = 10_000


class CloudStatuses:
    """One task per message: nothing keeps the order of two messages but the sender."""

    def __init__(self, core: CloudCore, webhooks: CloudCaller) -> None:
        self._core = core
        self._webhooks = webhooks
        self._running: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        return len(self._running)

    def accept(self, message: CloudMessage) -> None:
        if len(self._running) >= RUNNING_MAX:
            raise RuntimeError(f"more than {RUNNING_MAX} messages are under way")
        plans = self._core.plans
        plan = plans.popleft() if plans else self._core.settings.plan
        task = asyncio.create_task(self._live(message, plan))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def stop(self) -> None:
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _live(self, message: CloudMessage, plan: CloudPlan) -> None:
        core, clock = self._core, self._core.clock
        await clock.sleep(plan.sent_s)
        person = core.person(message.person)
        told: list[dict[str, Any]] = []
        code = plan.error_code or self._refusal(message, person)
        if code is not None:
            message.error_code = code
            await self._reach(message, person, "failed", plan, told)
        else:
            await self._reach(message, person, "sent", plan, told)
            await clock.sleep(plan.delivered_s)
            message.delivered_at, person.typing_until = core.now(), float("-inf")
            await self._reach(message, person, "delivered", plan, told)
            if plan.read_s is not None:
                await clock.sleep(plan.read_s)
                await self._reach(message, person, "read", plan, told)
        if plan.shuffled:
            for status in reversed(told):
                await self._tell(status, plan)

    def _refusal(self, message: CloudMessage, person: CloudPerson) -> int | None:
        if person.has_blocked:
            return UNDELIVERABLE
        is_open = (
            self._core.settings.session_window_s is None
            or message.is_template
            or self._core.now() <= person.window_until
        )
        return None if is_open else OUTSIDE_WINDOW

    async def _reach(
        self,
        message: CloudMessage,
        person: CloudPerson,
        status: str,
        plan: CloudPlan,
        told: list[dict[str, Any]],
    ) -> None:
        message.status = status
        self._core.changed()
        body = self._status(message, person, status)
        told.append(body)
        if not plan.shuffled:
            await self._tell(body, plan)

    def _status(self, message: CloudMessage, person: CloudPerson, status: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "id": message.id,
            "status": status,
            "timestamp": str(int(self._core.now())),
        }
        if person.wa_id:
            body["recipient_id"] = person.wa_id
        if person.user_id:
            body["recipient_user_id"] = person.user_id
        if message.callback_data:
            body["biz_opaque_callback_data"] = message.callback_data
        if message.error_code is not None:
            body["errors"] = [GraphError(message.error_code).reason()]
        else:
            category = "utility" if message.is_template else "service"
            body["pricing"] = {
                "billable": message.is_template,
                "pricing_model": "PMP",
                "category": category,
                "type": "regular",
            }
        return body

    async def _tell(self, status: dict[str, Any], plan: CloudPlan) -> None:
        if plan.silent:
            return
        value = {
            "messaging_product": "whatsapp",
            "metadata": self._core.metadata(),
            "statuses": [status],
        }
        for _ in range(2 if plan.doubled else 1):
            await self._webhooks.call([value], "status")
