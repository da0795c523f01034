"""What the protocol itself answers, and answers whose length nobody knows."""

from typing import Final


def _refusal(status: str, text: str, *more: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        "content-type: text/plain; charset=utf-8",
        f"content-length: {len(text)}",
        *more,
        "connection: close",
    ]
    return "\r\n".join([*lines, "", text]).encode()


BUSY: Final = _refusal(
    "503 Service Unavailable", "Too many connections are open.\n", "retry-after: 1"
)
TOO_LARGE: Final = _refusal(
    "431 Request Header Fields Too Large", "The request has too many headers.\n"
)
TOO_SLOW: Final = _refusal("408 Request Timeout", "The request came too slow.\n")
INVALID: Final = _refusal("400 Bad Request", "Invalid HTTP request received.")


class UnknownLength(int):
    """The length of an answer that ends with its connection, as the older HTTP/1.0 has it."""

    def __lt__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return False

    def __sub__(self, other: int) -> "UnknownLength":
        return self

    __hash__ = int.__hash__
