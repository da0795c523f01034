"""Errors in the Graph API's words: {error: {message, type, code, error_data, fbtrace_id}}.

GraphError    becomes the response of a request, or an element of a status's `errors`
"""

from typing import Any

from roost_channels.testing.dispatch import ApiError

# code: (HTTP status, title)
TITLES: dict[int, tuple[int, str]] = {
    1: (500, "API Unknown"),
    2: (503, "API Service"),
    33: (400, "Parameter value is not valid"),
    100: (400, "Invalid parameter"),
    190: (401, "Access token has expired"),
    130429: (429, "Rate limit hit"),
    131000: (500, "Something went wrong"),
    131008: (400, "Required parameter is missing"),
    131009: (400, "Parameter value is not valid"),
    131026: (400, "Message undeliverable"),
    131047: (400, "Re-engagement message"),
    131051: (400, "Unsupported message type"),
    131052: (400, "Media download error"),
    131053: (400, "Media upload error"),
    131056: (400, "(Business Account, Consumer Account) pair rate limit hit"),
    132001: (404, "Template does not exist"),
}


class GraphError(ApiError):
    """Meta refuses a request with a code of its list. details: what is wrong, in a few words."""

    def __init__(self, code: int, details: str = "") -> None:
        self.code = code
        self.details = details
        self.status, self.title = TITLES[code]
        super().__init__(f"(#{code}) {self.title}")

    def body(self) -> dict[str, Any]:
        """The error response."""
        error: dict[str, Any] = {
            "message": str(self),
            "type": "OAuthException",
            "code": self.code,
            "fbtrace_id": "AqFakeTraceId",
        }
        if self.details:
            error["error_data"] = {"messaging_product": "whatsapp", "details": self.details}
        return {"error": error}

    def reason(self) -> dict[str, Any]:
        """An element of a status's `errors`."""
        return {
            "code": self.code,
            "title": self.title,
            "message": self.title,
            "error_data": {"details": self.details or self.title},
            "href": "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/",
        }
