"""Errors in the Bot API's words: envelope, status and text.

BotApiError    becomes the response of a call
"""

from typing import Any

from roost_channels.testing.dispatch import ApiError


class BotApiError(ApiError):
    """A call fails. code: the HTTP status and the `error_code`. parameters: ResponseParameters."""

    def __init__(
        self, code: int, description: str, parameters: dict[str, Any] | None = None
    ) -> None:
        super().__init__(description)
        self.status = self.code = code
        self.description = description
        self.parameters = parameters or {}

    def body(self) -> dict[str, Any]:
        """The error envelope."""
        body: dict[str, Any] = {
            "ok": False,
            "error_code": self.code,
            "description": self.description,
        }
        if self.parameters:
            body["parameters"] = self.parameters
        return body


def bad_request(text: str) -> BotApiError:
    """400; the server lowers the first letter of its text, but not of an ALL_CAPS code."""
    if len(text) >= 2 and (text[1] == "_" or "A" <= text[1] <= "Z"):
        return BotApiError(400, f"Bad Request: {text}")
    return BotApiError(400, f"Bad Request: {text[:1].lower()}{text[1:]}")


def forbidden(text: str) -> BotApiError:
    """403 with the server's prefix."""
    return BotApiError(403, f"Forbidden: {text}")


def conflict(text: str) -> BotApiError:
    """409 with the server's prefix."""
    return BotApiError(409, f"Conflict: {text}")


def too_many_requests(retry_after_s: int) -> BotApiError:
    """429 with `retry_after` in whole seconds."""
    return BotApiError(
        429,
        f"Too Many Requests: retry after {retry_after_s}",
        {"retry_after": retry_after_s},
    )
