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
        """What becomes of it, and beside that the callbacks: a slow webhook delays no message."""
        told: asyncio.Queue[dict[str, str] | None] = asyncio.Queue()
        telling = asyncio.create_task(self._tell(message, plan, told))
        try:
            await self._fare(message, plan, told)
            told.put_nowait(None)
            await telling
        finally:
            telling.cancel()
        if message.sid in self._withheld:
            await self._core.clock.sleep(OUT_OF_ORDER_MAX_S)
            await self._release(message, self._url(message))

    async def _tell(
        self,
        message: TextMessage,
        plan: StatusPlan,
        told: "asyncio.Queue[dict[str, str] | None]",
    ) -> None:
        """Call back in order; a shuffled plan waits for the end and goes backwards."""
        kept: list[dict[str, str]] = []
        while (parameters := await told.get()) is not None:
            if plan.shuffled:
                kept.append(parameters)
            else:
                await self._call_back(message, parameters, plan)
        for parameters in reversed(kept):
            await self._call_back(message, parameters, plan)

    async def _fare(
        self,
        message: TextMessage,
        plan: StatusPlan,
        told: "asyncio.Queue[dict[str, str] | None]",
    ) -> None:
        core = self._core
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
            self._reach(message, status, told)
        else:
            message.sent_at = core.now()
            self._reach(message, "sent", told)
            await core.clock.sleep(plan.delivered_s)
            message.delivered_at = core.now()
            person.typing_until = float("-inf")
            self._reach(message, "delivered", told)
            if plan.read_s is not None:
                await core.clock.sleep(plan.read_s)
                self._reach(message, "read", told)

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

    def _reach(
        self,
        message: TextMessage,
        status: str,
        told: "asyncio.Queue[dict[str, str] | None]",
    ) -> None:
        message.status, message.updated_at = status, self._core.now()
        self._core.changed()
        told.put_nowait(self._parameters(message, status))

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
