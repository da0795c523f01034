"""Webhooks as values: requests as they came, answers, and the routes they arrive at.

Whoever serves HTTP turns requests into these values, so that adapters know no web framework.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """An HTTP request.

    url_path: path and query exactly as they came, because signatures cover them. headers: by
    lower-case name. path_values: what stood in the places of the route's `{names}`.
    """

    method: str
    url_path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    path_values: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class WebhookReply:
    """An HTTP response. `headers` come on top of the content type."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


NOT_CONFIGURED = WebhookReply(404, b"this channel is not configured\n")


@dataclass(frozen=True, slots=True)
class WebhookRoute:
    """A path on the web port, below `/hooks/`; `{name}` stands for one part of it."""

    path: str
    methods: tuple[str, ...] = ("POST",)


Handler = Callable[[WebhookRequest], Awaitable[WebhookReply]]


async def _nothing_to_close() -> None:
    pass


@dataclass(frozen=True, slots=True)
class WebhookHandlers:
    """One account's handlers by the path of their route, and how what they hold is released."""

    by_path: Mapping[str, Handler]
    close: Callable[[], Awaitable[None]] = _nothing_to_close


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by lower-case name."""
    return {name.lower(): value for name, value in headers.items()}
