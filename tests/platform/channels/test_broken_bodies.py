"""Bodies that break off, or are no HTTP, are no fault of ours: no trace of one fills the log."""

import asyncio
import logging
from pathlib import Path

import pytest

from roost_platform.db.stores import Stores
from roost_platform.testing.api_server import api_server

ENVIRON = {
    "ROOST_PUBLIC_BASE_URL": "https://roost.example.org",
    "ROOST_TELEGRAM__TOKEN": f"42:{'a' * 35}",
    "ROOST_TELEGRAM__MODE": "webhook",
    "ROOST_TELEGRAM__WEBHOOK_SECRET": "sesame",
    "ROOST_TWILIO__ACCOUNT_SID": f"AC{'1' * 32}",
    "ROOST_TWILIO__AUTH_TOKEN": "token",
    "ROOST_TWILIO__FROM": "whatsapp:+15550001000",
}
PATHS = ("/hooks/telegram/42", "/hooks/twilio/inbound", "/api/sessions/x/messages", "/login")
CHUNKED = "transfer-encoding: chunked\r\n\r\n"
BROKEN = ("-2\r\n{}\r\n0\r\n\r\n", "0x2\r\n{}", "f" * 20 + "\r\n{}", "2\n{}\n0\n\n", "zz\r\n")


async def talk(port: int, request: str, *, waits: bool) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    await writer.drain()
    try:
        async with asyncio.timeout(20):
            return await reader.read() if waits else b""
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_body_that_breaks_is_told_as_400_and_logged_as_no_fault(
    sqlite_stores: Stores, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with api_server(sqlite_stores, tmp_path, ENVIRON) as server:
        port = int(server.url.rpartition(":")[2])
        for path in PATHS:
            head = (
                f"POST {path} HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: same-origin\r\n"
                f"content-type: application/x-www-form-urlencoded\r\nconnection: close\r\n"
            )
            for body in BROKEN:
                answer = await talk(port, f"{head}{CHUNKED}{body}", waits=True)
                assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 401", b"HTTP/1.1 404"), path
            await talk(port, f"{head}content-length: 99\r\n\r\nhalf", waits=False)
        alive = await talk(port, "GET /login HTTP/1.0\r\nhost: localhost\r\n\r\n", waits=True)
    assert alive.startswith(b"HTTP/1.1 ")
    faults = [one for one in caplog.records if one.levelno >= logging.ERROR or one.exc_info]
    assert faults == []
