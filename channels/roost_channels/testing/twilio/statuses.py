"""How messages fare at Twilio: its codes, and its status callbacks."""

from roost_channels.testing.faults import OUT_OF_ORDER_MAX_S
from roost_channels.testing.twilio.errors import MESSAGES
from roost_channels.testing.twilio.media import fetch_media
from roost_channels.testing.twilio.state import API_VERSION, TextMessage, TwilioCore
from roost_channels.testing.twilio.webhooks import WebhookCaller
from roost_channels.testing.whatsapp.state import Person, StatusPlan
from roost_channels.testing.whatsapp.statuses import Report, StatusEngine

PAIR_LIMIT = 63018


class Statuses(StatusEngine[TextMessage]):
    """Callbacks go to the message's own address, else to the account's."""

    blocked, outside_window = 63024, 63016

    def __init__(self, core: TwilioCore, webhooks: WebhookCaller) -> None:
        super().__init__(core)
        self._account = core
        self._webhooks = webhooks
        self._withheld: dict[str, Report] = {}

    async def problem(self, message: TextMessage, person: Person) -> int | None:
        if found := message.refused or await super().problem(message, person):
            return found
        if not person.takes(self._account.settings.pair_limit, self._account.now()):
            return PAIR_LIMIT
        return await fetch_media(self._account, message)

    def failure(self, plan: StatusPlan, code: int) -> str:
        return plan.error_status if code in (plan.error_code, self.blocked) else "failed"

    def report(self, message: TextMessage, status: str) -> Report:
        parameters = {
            "AccountSid": self._account.settings.account_sid,
            "ApiVersion": API_VERSION,
            "ChannelInstallSid": "XE" + "0" * 32,
            "ChannelPrefix": "whatsapp",
            "ChannelToAddress": message.to.removeprefix("whatsapp:"),
            "From": message.from_,
            "MessageSid": message.id,
            "MessageStatus": status,
            "SmsSid": message.id,
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

    async def tell(self, message: TextMessage, report: Report, plan: StatusPlan) -> None:
        url = message.status_callback or self._account.settings.status_callback
        if not url:
            return
        fault = self._core.faults.take(
            "status", ("drop_before", "delay", "duplicate_update", "out_of_order")
        )
        kind = fault.kind if fault else ""
        if kind == "drop_before":
            return
        if kind == "out_of_order" and message.id not in self._withheld:
            self._withheld[message.id] = report
            return
        if fault is not None and kind == "delay":
            await self._core.clock.sleep(fault.value)
        await self._webhooks.call(url, report)
        if plan.doubled or kind == "duplicate_update":
            await self._webhooks.call(url, report)
        await self._release(message)

    async def end(self, message: TextMessage) -> None:
        if message.id in self._withheld:
            await self._core.clock.sleep(OUT_OF_ORDER_MAX_S)
            await self._release(message)

    async def _release(self, message: TextMessage) -> None:
        """Send what an out_of_order fault held back of this message."""
        late = self._withheld.pop(message.id, None)
        if late is not None:
            url = message.status_callback or self._account.settings.status_callback
            await self._webhooks.call(url, late)
