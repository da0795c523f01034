"""What becomes of an outbound message: sent, delivered, read or failed, and the callbacks."""

import asyncio

from roost_channels.testing.faults import OUT_OF_ORDER_MAX_S
from roost_channels.testing.twilio.errors import MESSAGES
from roost_channels.testing.twilio.media import fetch_media
from roost_channels.testing.twilio.state import Core, Person, StatusPlan, TextMessage
from roost_channels.testing.twilio.webhooks import WebhookCaller

OUTSIDE_WINDOW = 63016
PAIR_LIMIT = 63018
BLOCKED = 63024
RUNNING_MAX = 10_000


class StatusEngine:
    """One task per message, so that nothing keeps the order of two messages but the sender."""

    def __init__(self, core: Core, webhooks: WebhookCaller) -> None:
        self._core = core
        self._webhooks = webhooks
        self._running: set[asyncio.Task[None]] = set()
        self._withheld: dict[str, dict[str, str]] = {}

    @property
    def running(self) -> int:
        return len(self._running)

    def accept(self, message: TextMessage) -> None:
        """Start the life of a message answered with `queued`, which is never called back."""
        if len(self._running) >= RUNNING_MAX:
            raise RuntimeError(f"more than {RUNNING_MAX} messages are under way")
        plans = self._core.plans
        plan = plans.popleft() if plans else self._core.settings.status_plan
        task = asyncio.create_task(self._live(message, plan))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def stop(self) -> None:
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _live(self, message: TextMessage, plan: StatusPlan) -> None:
        core = self._core
        callbacks: list[dict[str, str]] = []
        await core.clock.sleep(plan.sent_s)
        if message.status == "canceled":
            return
        person = core.person(message.to)
        problem = (
            plan.error_code
            or message.refused
            or self._refusal(message, person)
            or await fetch_media(core, message)
        )
        if problem is not None:
            message.error_code = problem
            planned = problem == plan.error_code
            status = plan.error_status if planned or problem == BLOCKED else "failed"
            await self._reach(message, status, plan, callbacks)
        else:
            message.sent_at = core.now()
            await self._reach(message, "sent", plan, callbacks)
            await core.clock.sleep(plan.delivered_s)
            message.delivered_at = core.now()
            person.typing_until = float("-inf")
            await self._reach(message, "delivered", plan, callbacks)
            if plan.read_s is not None:
                await core.clock.sleep(plan.read_s)
                await self._reach(message, "read", plan, callbacks)
        if plan.shuffled:
            for parameters in reversed(callbacks):
                await self._call_back(message, parameters, plan)
        if message.sid in self._withheld:
            await core.clock.sleep(OUT_OF_ORDER_MAX_S)
            await self._release(message, self._url(message))

    def _url(self, message: TextMessage) -> str:
        return message.status_callback or self._core.settings.status_callback

    def _refusal(self, message: TextMessage, person: Person) -> int | None:
        settings, now = self._core.settings, self._core.now()
        if person.opted_out:
            return BLOCKED
        if (
            settings.session_window_s is not None
            and not message.is_template
            and now > person.window_until
        ):
            return OUTSIDE_WINDOW
        limit = settings.pair_limit
        if limit is None:
            return None
        tokens = limit.burst if person.pair_tokens is None else person.pair_tokens
        tokens = min(limit.burst, tokens + (now - person.pair_at) / limit.seconds_per_message)
        person.pair_at = now
        person.pair_tokens = tokens if tokens < 1 else tokens - 1
        return PAIR_LIMIT if tokens < 1 else None

    async def _reach(
        self,
        message: TextMessage,
        status: str,
        plan: StatusPlan,
        callbacks: list[dict[str, str]],
    ) -> None:
        message.status, message.updated_at = status, self._core.now()
        self._core.changed()
        parameters = self._parameters(message, status)
        callbacks.append(parameters)
        if not plan.shuffled:
            await self._call_back(message, parameters, plan)

    def _parameters(self, message: TextMessage, status: str) -> dict[str, str]:
        parameters = {
            "AccountSid": self._core.settings.account_sid,
            "ApiVersion": "2010-04-01",
            "ChannelInstallSid": "XE" + "0" * 32,
            "ChannelPrefix": "whatsapp",
            "ChannelToAddress": message.to.removeprefix("whatsapp:"),
            "From": message.from_,
            "MessageSid": message.sid,
            "MessageStatus": status,
            "SmsSid": message.sid,
            "SmsStatus": status,
            "StructuredMessage": "false",
            "To": message.to,
        }
        if status in ("delivered", "read"):
            parameters["EventType"] = status.upper()
        if message.error_code is not None:
            parameters["ErrorCode"] = str(message.error_code)
            parameters["ErrorMessage"] = MESSAGES.get(message.error_code, "")
            parameters["ChannelStatusMessage"] = parameters["ErrorMessage"]
        return parameters

    async def _call_back(
        self, message: TextMessage, parameters: dict[str, str], plan: StatusPlan
    ) -> None:
        url = self._url(message)
        if not url or plan.silent:
            return
        fault = self._core.faults.take(
            "status", ("drop_before", "delay", "duplicate_update", "out_of_order")
        )
        kind = fault.kind if fault else ""
        if kind == "drop_before":
            return
        if kind == "out_of_order" and message.sid not in self._withheld:
            self._withheld[message.sid] = parameters
            return
        if fault is not None and kind == "delay":
            await self._core.clock.sleep(fault.value)
        await self._webhooks.call(url, parameters)
        if plan.doubled or kind == "duplicate_update":
            await self._webhooks.call(url, parameters)
        await self._release(message, url)

    async def _release(self, message: TextMessage, url: str) -> None:
        """Send what an out_of_order fault held back of this message."""
        late = self._withheld.pop(message.sid, None)
        if late is not None:
            await self._webhooks.call(url, late)
