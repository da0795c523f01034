"""`roost serve sandbox`: the fakes of Telegram, Twilio and Meta, where the settings expect them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from pydantic import SecretStr

from roost_channels.testing.cloud import FakeCloud
from roost_channels.testing.fake import Fake
from roost_channels.testing.sandbox import lasting_telegram, serve
from roost_channels.testing.twilio import FakeTwilio
from roost_platform.errors import ConfigError
from roost_platform.settings.config import Settings


@contextlib.asynccontextmanager
async def open_fakes(settings: Settings) -> AsyncIterator[None]:
    """All fakes, listening. Raises ConfigError unless all channels point at this machine."""
    fakes = _fakes(settings)
    listening = asyncio.Event()
    serving = asyncio.create_task(serve(fakes, listening.set))
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


def _fakes(settings: Settings) -> list[Fake]:
    hooks = f"{settings.public_base_url}/hooks"
    twilio, cloud = settings.twilio, settings.whatsapp_cloud
    return [
        lasting_telegram(_known(settings.telegram.token), _port(settings.telegram.api_base)),
        FakeTwilio(
            twilio.account_sid or "",
            _known(twilio.auth_token),
            twilio.account,
            webhook_url=f"{hooks}/twilio/inbound",
            port=_port(twilio.api_base or ""),
        ),
        FakeCloud(
            cloud.account,
            _known(cloud.access_token),
            _known(cloud.app_secret),
            webhook_url=f"{hooks}/whatsapp-cloud/{cloud.account}",
            port=_port(cloud.api_base),
        ),
    ]


def _known(secret: SecretStr | None) -> str:
    if secret is None:
        raise ConfigError("The sandbox is started by `roost up --sandbox`.")
    return secret.get_secret_value()


def _port(url: str) -> int:
    parts = urlsplit(url)
    if parts.hostname != "127.0.0.1" or not parts.port:
        raise ConfigError(f"The sandbox serves on this machine only, not at {url or 'no address'}.")
    return parts.port
