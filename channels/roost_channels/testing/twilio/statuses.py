"""Twilio's status callbacks and the error codes in them."""

from roost_channels.testing.faults import OUT_OF_ORDER_MAX_S
from roost_channels.testing.twilio.errors import MESSAGES
from roost_channels.testing.twilio.media import fetch_media
from roost_channels.testing.twilio.state import API_VERSION, TextMessage, TwilioCore
from roost_channels.testing.twilio.webhooks import TwilioWebhookClient
from roost_channels.testing.whatsapp.state import StatusPlan, WhatsAppUser
from roost_channels.testing.whatsapp.statuses import Report, StatusEngine

PAIR_LIMIT = 63018


class TwilioStatuses(StatusEngine[TextMessage]):
    """Reports every status to the message's own callback URL, else to the account's."""

    blocked, outside_window = 63024, 63016

    def __init__(self, core: TwilioCore, webhooks: TwilioWebhookClient) -> None:
        super().__init__(core)
        self._core: TwilioCore = core
        self._webhooks = webhooks
        self._withheld: dict[str, Report] = {}

    async def find_error(self, message: TextMessage, user: WhatsAppUser) -> int | None:
        """As above, then the pair limit and the files that Twilio fetches."""
        if code := message.content_error or await super().find_error(message, user):
            return code
        if not user.take_pair_token(self._core.settings.pair_limit, self._core.now()):
            return PAIR_LIMIT
        return await fetch_media(self._core, message)

    def failed_status(self, plan: StatusPlan, code: int) -> str:
        """`undelivered` for what the plan or the user refuses, else `failed`."""
        return plan.error_status if code in (plan.error_code, self.blocked) else "failed"

    def report(self, message: TextMessage, status: str) -> Report:
        """The form of a status callback."""
        parameters = {
            "AccountSid": self._core.settings.account_sid,
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

    async def send_report(self, message: TextMessage, report: Report, plan: StatusPlan) -> None:
        """Call the callback URL, with the faults for `status`."""
        url = message.status_callback or self._core.settings.status_callback
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

    async def finish(self, message: TextMessage) -> None:
        """Send the report that an out_of_order fault held back until now."""
        if message.id in self._withheld:
            await self._core.clock.sleep(OUT_OF_ORDER_MAX_S)
            await self._release(message)

    async def _release(self, message: TextMessage) -> None:
        """Send the report that an out_of_order fault held back."""
        report = self._withheld.pop(message.id, None)
        if report is not None:
            url = message.status_callback or self._core.settings.status_callback
            await self._webhooks.call(url, report)
