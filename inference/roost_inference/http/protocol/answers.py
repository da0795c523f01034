"""What the protocol itself answers, and answers whose length nobody knows."""

from dataclasses import dataclass
from typing import Final

from roost_inference.wire.ids import REQUEST_ID


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer to a request that can't be read, after which the connection closes."""

    status: str
    text: str
    headers: tuple[str, ...] = ()

    def encoded(self, id: str) -> bytes:
        """The whole answer. id: of the request, or a new one."""
        lines = [
            f"HTTP/1.1 {self.status}",
            "content-type: text/plain; charset=utf-8",
            f"content-length: {len(self.text)}",
            f"{REQUEST_ID}: {id}",
            *self.headers,
            "connection: close",
        ]
        return "\r\n".join([*lines, "", self.text]).encode()


BUSY: Final = Refusal(
    "503 Service Unavailable", "Too many connections are open.\n", ("retry-after: 1",)
)
TOO_LARGE: Final = Refusal(
    "431 Request Header Fields Too Large", "The request has too many headers.\n"
)
TOO_SLOW: Final = Refusal("408 Request Timeout", "The request came too slow.\n")
INVALID: Final = Refusal("400 Bad Request", "Invalid HTTP request received.")


class UnknownLength(int):
    """The length of an answer that ends with its connection, as the older HTTP/1.0 has it."""

    def __lt__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return False

    def __sub__(self, other: int) -> "UnknownLength":
        return self

    __hash__ = int.__hash__
