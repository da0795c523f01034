"""The front leads a client's look at the base address to the gateway, and people to the console."""

import pytest
from starlette.types import Receive, Scope, Send

from roost_platform.web.front import Front


@pytest.mark.parametrize(
    ("method", "path", "led_to"),
    [
        ("HEAD", "/", "gateway"),  # Claude Code, before its first request
        ("GET", "/", "app"),
        ("GET", "/v1", "gateway"),
        ("POST", "/v1/messages", "gateway"),
        ("GET", "/v1x", "app"),
        ("HEAD", "/sessions", "app"),
    ],
)
async def test_each_address_has_its_app(method: str, path: str, led_to: str) -> None:
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append("app")

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append("gateway")

    async def receive() -> dict[str, object]:
        return {}

    async def send(message: object) -> None:
        pass

    scope = {"type": "http", "method": method, "path": path}
    await Front(app, gateway)(scope, receive, send)
    assert asked == [led_to]
