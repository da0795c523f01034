"""Lists parameters in recorded calls that Twilio does not know; the real API ignores them."""

from roost_channels.testing.dispatch import UNKNOWN_CALL
from roost_channels.testing.loopback import Call

# The parameters of the official client; a test compares them with it.
CREATE = frozenset(
    [
        "To",
        "From",
        "Body",
        "MediaUrl",
        "ContentSid",
        "ContentVariables",
        "StatusCallback",
        "MessagingServiceSid",
        "ApplicationSid",
        "MaxPrice",
        "ProvideFeedback",
        "Attempt",
        "ValidityPeriod",
        "ForceDelivery",
        "ContentRetention",
        "AddressRetention",
        "SmartEncoded",
        "PersistentAction",
        "TrafficType",
        "ShortenUrls",
        "ScheduleType",
        "SendAt",
        "SendAsMms",
        "MessageIntent",
        "RiskCheck",
        "FallbackFrom",
    ]
)
KNOWN = {
    "messages.create": CREATE,
    "messages.list": frozenset(
        {"To", "From", "DateSent", "DateSent<", "DateSent>", "PageSize", "Page", "PageToken"}
    ),
    "messages.fetch": frozenset[str](),
    "messages.update": frozenset({"Body", "Status"}),
    "typing": frozenset({"channel", "messageId"}),
    "typing.v3": frozenset({"channel", "messageId"}),
}
# Parts of the path, which the record of calls has beside the parameters.
IN_PATH = frozenset({"account", "sid", "media", "json"})


def complaints(call: Call) -> list[str]:
    """The parameters of a call that Twilio does not document; empty when all are known."""
    if call.method == UNKNOWN_CALL:
        return ["unknown: no such resource"]
    known = KNOWN.get(call.method)
    if known is None:
        return []
    return [
        f"{call.method}: {name}: no such parameter"
        for name in call.parameters
        if name not in known | IN_PATH
    ]
