"""Errors in the words of Twilio's REST API: {code, message, more_info, status}.

TwilioError    becomes the response of a request
"""

from typing import Any

from roost_channels.testing.dispatch import ApiError

MESSAGES = {
    11751: "Media Message - Media exceeds messaging provider size limit",
    20001: "Invalid parameter",
    20003: "Authenticate",
    20404: "The requested resource {detail} was not found",
    20429: "Too Many Requests",
    21211: "The 'To' number {detail} is not a valid phone number.",
    21603: "A 'From' phone number is required.",
    21604: "A 'To' phone number is required.",
    21609: "The 'StatusCallback' URL {detail} is not a valid URL.",
    21610: "WebhookAttempt to send to unsubscribed recipient",
    21617: "The concatenated message body exceeds the 1600 character limit",
    21619: "A text message body or media urls must be specified.",
    21623: "Number of media files exceeds allowed limit",
    21655: "The ContentSid is Invalid",
    21656: "The Content Variables Parameter is invalid",
    21910: "Invalid 'From' and 'To' pair. 'From' and 'To' should be of the same channel",
    63007: "Twilio could not find a Channel with the specified From address",
    63016: (
        "Failed to send freeform message because you are outside the allowed window. "
        "If you are using WhatsApp, please use a Message Template."
    ),
    63018: "Rate limit exceeded for Channel",
    63019: "Media failed to download",
    63021: "Channel invalid content error",
    63024: "Invalid message recipient",
}


class TwilioError(ApiError):
    """Twilio refuses a request with a code of its error dictionary.

    status: the HTTP status. detail: the value that the message names.
    """

    def __init__(self, status: int, code: int, detail: str = "") -> None:
        self.status = status
        self.code = code
        self.message = MESSAGES.get(code, "Error").format(detail=detail)
        super().__init__(self.message)

    def body(self) -> dict[str, Any]:
        """The error response."""
        return {
            "code": self.code,
            "message": self.message,
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.status,
        }


def not_found(path: str) -> TwilioError:
    """The error for a resource that does not exist."""
    return TwilioError(404, 20404, path)
