"""`roost serve sandbox`: the fake network of each channel, where its settings expect it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

from roost_channels.testing.sandbox import serve
from roost_platform.data_folder.sandbox_states import KeptStates
from roost_platform.errors import ConfigError
from roost_platform.settings.config import Settings

STATES_FOLDER = "sandbox"  # in the data folder: what the fakes know


@contextlib.asynccontextmanager
async def open_fakes(settings: Settings) -> AsyncIterator[None]:
    """Serve every fake while the block runs; raises ConfigError if a channel points elsewhere."""
    fakes = _fakes(settings)
    states = KeptStates(settings.data_dir / STATES_FOLDER, fakes)
    states.load()
    listening = asyncio.Event()
    serving = asyncio.create_task(serve(list(fakes.values()), listening.set))
    keeping = asyncio.create_task(states.run())
    waiting = asyncio.create_task(listening.wait())
    try:
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        yield
    finally:
        for task in (serving, waiting, keeping):
            task.cancel()
        await asyncio.gather(serving, waiting, keeping, return_exceptions=True)
        states.save()


def _fakes(settings: Settings) -> dict[str, AbstractAsyncContextManager[Any]]:
    """The fakes by their channels' sections."""
    if not settings.sandbox:
        raise ConfigError("The sandbox is started by `roost up --sandbox`.")
    web = settings.public_base_url or ""
    fakes = {}
    for kind in settings.kinds:
        if kind.sandbox is not None:
            config = settings.channel(kind)
            port = _port(kind.sandbox.url(config))
            fakes[kind.section] = kind.sandbox.fake(config, port, web)
    return fakes


def _port(url: str) -> int:
    parts = urlsplit(url)
    if parts.hostname != "127.0.0.1" or not parts.port:
        raise ConfigError(f"The sandbox serves on this machine only, not at {url or 'no address'}.")
    return parts.port
