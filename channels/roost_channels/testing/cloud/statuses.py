"""How messages fare at Meta: its codes, and its status webhooks."""

from roost_channels.testing.cloud.errors import GraphError
from roost_channels.testing.cloud.state import CloudCore, CloudMessage, user_id, wa_id
from roost_channels.testing.cloud.webhooks import CloudCaller
from roost_channels.testing.whatsapp.state import StatusPlan
from roost_channels.testing.whatsapp.statuses import Report, StatusEngine


class CloudStatuses(StatusEngine[CloudMessage]):
    """All statuses go to the app's one webhook."""

    blocked, outside_window = 131026, 131047

    def __init__(self, core: CloudCore, webhooks: CloudCaller) -> None:
        super().__init__(core)
        self._number = core
        self._webhooks = webhooks

    def report(self, message: CloudMessage, status: str) -> Report:
        person = self._number.person(message.person)
        body: Report = {
            "id": message.id,
            "status": status,
            "timestamp": str(int(self._number.now())),
        }
        if person.phone:
            body["recipient_id"] = wa_id(person)
        if person.user_id:
            body["recipient_user_id"] = user_id(person)
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

    async def tell(self, message: CloudMessage, report: Report, plan: StatusPlan) -> None:
        value = {
            "messaging_product": "whatsapp",
            "metadata": self._number.metadata(),
            "statuses": [report],
        }
        for _ in range(2 if plan.doubled else 1):
            await self._webhooks.call([value], "status")
