"""Meta's status webhooks and the error codes in them."""

from roost_channels.testing.cloud.errors import GraphError
from roost_channels.testing.cloud.state import CloudCore, CloudMessage, business_scoped_id, wa_id
from roost_channels.testing.cloud.webhooks import CloudWebhookClient
from roost_channels.testing.whatsapp.state import StatusPlan
from roost_channels.testing.whatsapp.statuses import Report, StatusEngine


class CloudStatuses(StatusEngine[CloudMessage]):
    """Reports every status to the app's one webhook."""

    blocked, outside_window = 131026, 131047

    def __init__(self, core: CloudCore, webhooks: CloudWebhookClient) -> None:
        super().__init__(core)
        self._core: CloudCore = core
        self._webhooks = webhooks

    def report(self, message: CloudMessage, status: str) -> Report:
        """Meta's status object."""
        user = self._core.user(message.user)
        body: Report = {
            "id": message.id,
            "status": status,
            "timestamp": str(int(self._core.now())),
        }
        if user.phone:
            body["recipient_id"] = wa_id(user)
        if user.user_id:
            body["recipient_user_id"] = business_scoped_id(user)
        if message.callback_data:
            body["biz_opaque_callback_data"] = message.callback_data
        if message.error_code is not None:
            body["errors"] = [GraphError(message.error_code).reason()]
            return body
        body["pricing"] = {
            "billable": message.is_template,
            "pricing_model": "PMP",
            "category": "utility" if message.is_template else "service",
            "type": "regular",
        }
        return body

    async def send_report(self, message: CloudMessage, report: Report, plan: StatusPlan) -> None:
        """Send the status as a webhook, twice under a doubled plan."""
        value = {
            "messaging_product": "whatsapp",
            "metadata": self._core.metadata(),
            "statuses": [report],
        }
        for _ in range(2 if plan.doubled else 1):
            await self._webhooks.call([value], "status")
