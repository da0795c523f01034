"""`roost serve sandbox`: the fakes of Telegram and Twilio, where the settings expect them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from roost_channels.testing.sandbox import serve_sandbox
from roost_platform.config import Settings
from roost_platform.errors import ConfigError

INBOUND_PATH = "/hooks/twilio/inbound"


@contextlib.asynccontextmanager
async def open_fakes(settings: Settings) -> AsyncIterator[None]:
    """Both fakes, listening. Raises ConfigError unless both channels point at this machine."""
    telegram, twilio = settings.telegram, settings.twilio
    if telegram.token is None or not twilio.configured or twilio.auth_token is None:
        raise ConfigError("The sandbox is started by `roost up --sandbox`.")
    listening = asyncio.Event()
    serving = asyncio.create_task(
        serve_sandbox(
            token=telegram.token.get_secret_value(),
            account_sid=twilio.account_sid or "",
            auth_token=twilio.auth_token.get_secret_value(),
            sender=twilio.account,
            twilio_webhook=f"{settings.public_base_url}{INBOUND_PATH}",
            telegram_port=_port(telegram.api_base),
            twilio_port=_port(twilio.api_base or ""),
            on_ready=lambda _telegram, _twilio: listening.set(),
        )
    )
    waiting = asyncio.create_task(listening.wait())
    try:
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        yield
    finally:
        for task in (serving, waiting):
            task.cancel()
        await asyncio.gather(serving, waiting, return_exceptions=True)


def _port(url: str) -> int:
    parts = urlsplit(url)
    if parts.hostname != "127.0.0.1" or not parts.port:
        raise ConfigError(f"The sandbox serves on this machine only, not at {url or 'no address'}.")
    return parts.port
