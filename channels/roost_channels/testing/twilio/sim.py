"""The part of the /sim API that FakeTwilio alone has: locations, approvals and complaints."""

from typing import Any

from roost_channels.testing.twilio.content import set_approval
from roost_channels.testing.twilio.schema import complaints
from roost_channels.testing.twilio.state import TextMessage, TwilioCore
from roost_channels.testing.twilio.user_events import TwilioUserEvents
from roost_channels.testing.whatsapp.server import WhatsAppFake
from roost_channels.testing.whatsapp.sim import WhatsAppSim


class TwilioSim(WhatsAppSim):
    """Adds Twilio's routes to those of both WhatsApp fakes."""

    url_settings = ("fallback_url", "status_callback")

    def __init__(
        self, fake: WhatsAppFake[TextMessage], core: TwilioCore, user_events: TwilioUserEvents
    ) -> None:
        super().__init__(fake)
        self._core = core
        self._user_events = user_events

    async def provider_route(
        self, verb: str, parts: list[str], body: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Answer a path that FakeTwilio alone has; None for any other path."""
        match (verb, *parts):
            case ("POST", "users", address, "location"):
                place = (float(body["latitude"]), float(body["longitude"]))
                message, event = self._user_events.write_location(address, *place)
                self._user_events.start_delivery(event)
                return {"sid": message.id}
            case ("POST", "contents", sid, "approve"):
                set_approval(self._core, sid, str(body.get("status", "approved")))
                return {"ok": True}
            case ("GET", "complaints"):
                calls = self._core.log.calls
                return {"complaints": [text for call in calls for text in complaints(call)]}
        return None
