"""The /sim API of FakeTwilio: what the sandbox's phone and outside tests use to play the people."""

from typing import TYPE_CHECKING, Any

from roost_channels.testing.whatsapp.sim import WhatsAppSim

if TYPE_CHECKING:
    from roost_channels.testing.twilio.server import FakeTwilio


class TwilioSim(WhatsAppSim):
    """Beside what both ways to WhatsApp have: places, approvals, complaints."""

    urls = ("fallback_url", "status_callback")

    def __init__(self, twilio: "FakeTwilio") -> None:
        super().__init__(twilio)
        self._twilio = twilio

    async def more(self, verb: str, parts: list[str], body: dict[str, Any]) -> Any:
        twilio = self._twilio
        match (verb, *parts):
            case ("POST", "users", user, "location"):
                place = (float(body["latitude"]), float(body["longitude"]))
                return {"sid": await twilio.user_sends_location(user, *place, wait=False)}
            case ("POST", "contents", sid, "approve"):
                twilio.approve_content(sid, str(body.get("status", "approved")))
                return {"ok": True}
            case ("GET", "complaints"):
                return {"complaints": twilio.complaints}
        return None
