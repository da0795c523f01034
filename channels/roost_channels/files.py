"""Fetches the files that came with messages, beside the intake, which never waits for them."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from roost_channels.channel import Channel
from roost_channels.clock import Clock, SystemClock
from roost_channels.config import FilesConfig
from roost_channels.errors import TOO_LARGE, DeliveryError, NotSent, Rejected, Throttled
from roost_channels.message import Attachment

logger = logging.getLogger(__name__)

FETCHES_MAX = 4  # downloads at once; each holds one file in memory
FETCH_TIMEOUT_S = 120.0
FETCH_ATTEMPTS_MAX = 6
FETCH_RETRY_S = 1.0
FETCH_RETRY_MAX_S = 60.0
POLL_S = 0.5
# Between two looks while nothing is to be fetched, at first and at most: each one is twice as long
# as the one before. Commits wake it at once.
IDLE_S = 30.0
IDLE_MAX_S = 300.0
SWEEP_EVERY_S = 3600.0


@dataclass(frozen=True, slots=True)
class FileFetch:
    """A file to fetch; attempts counts the tries that failed so far."""

    artifact_id: str
    channel: str
    account: str
    attachment: Attachment
    attempts: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is kept: what people call it, its MIME type, its bytes."""

    name: str
    mime_type: str
    data: bytes


class ChannelFiles(Protocol):
    """Storage of artifacts, as channels use it."""

    async def wait(self, timeout_s: float) -> None:
        """Return when something may have changed, at the latest after `timeout_s`."""
        ...

    async def fetches(
        self, channels: Sequence[tuple[str, str]], now: float, limit: int
    ) -> Sequence[FileFetch]:
        """Files of accepted messages that are due, oldest first."""
        ...

    async def fetched(self, artifact_id: str, data: bytes) -> None:
        """Keep a file that arrived."""
        ...

    async def not_fetched(
        self, artifact_id: str, reason: str, *, retry_at: float | None = None, told: str = ""
    ) -> None:
        """A try failed; for good without `retry_at`, and then the sender is `told` so."""
        ...

    async def read(self, artifact_id: str) -> bytes:
        """The bytes of a stored file; raises Rejected when they are gone."""
        ...

    async def stored(self, artifact_id: str) -> StoredFile:
        """A stored file with its name and type; raises Rejected when it is gone."""
        ...

    async def sweep(self, older_than: float) -> int:
        """Delete files made before that, except those still to be sent; returns how many."""
        ...


class Fetcher:
    """Downloads what came in on some accounts: at most FETCHES_MAX files at once.

    Once `stop` is set no download begins; those that run are given up and begin again later.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        files: ChannelFiles,
        clock: Clock | None = None,
        config: FilesConfig | None = None,
        stop: asyncio.Event | None = None,
    ) -> None:
        self._channels = {(channel.name, channel.account): channel for channel in channels}
        self._files = files
        self._clock = clock or SystemClock()
        self._config = config or FilesConfig()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stop = stop or asyncio.Event()
        self._swept_at = 0.0
        self._retry_at = 0.0  # the latest time at which a file is to be tried again

    async def run(self) -> None:
        """Fetch for ever."""
        rest_s = IDLE_S
        try:
            await self._files.wait(0)  # from here on no commit is missed
            while True:
                began = self._clock.time()
                try:
                    await self.step()
                    await self._sweep()
                except Exception:
                    logger.exception("looking for files to fetch failed")
                await self._clock.sleep(POLL_S)
                if self._tasks or self._retry_at > began:
                    rest_s = IDLE_S
                else:
                    await self._files.wait(rest_s)
                    rest_s = min(2 * rest_s, IDLE_MAX_S)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def step(self) -> None:
        """Start what is due, as far as there is room."""
        now = self._clock.time()
        for fetch in await self._files.fetches(tuple(self._channels), now, 2 * FETCHES_MAX):
            if len(self._tasks) >= FETCHES_MAX or self._stop.is_set():
                return
            channel = self._channels.get((fetch.channel, fetch.account))
            if channel is None or fetch.artifact_id in self._tasks:
                continue
            task = asyncio.create_task(self._fetch(channel, fetch))
            self._tasks[fetch.artifact_id] = task
            task.add_done_callback(partial(self._ended, fetch.artifact_id))

    def _ended(self, artifact_id: str, _: asyncio.Task[None]) -> None:
        self._tasks.pop(artifact_id, None)

    async def settle(self) -> None:
        """One step, waited for."""
        await self.step()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _fetch(self, channel: Channel, fetch: FileFetch) -> None:
        size_max = self._config.inbound_bytes_max
        size = fetch.attachment.size or 0
        try:
            if size > size_max:
                reason = f"it has {size} bytes, more than {size_max}"
                raise Rejected(reason, code=TOO_LARGE)
            if self._stop.is_set():
                return
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                data = await channel.download(fetch.attachment, size_max)
            await self._files.fetched(fetch.artifact_id, data)
        except (NotSent, Throttled, TimeoutError) as error:
            await self._again(fetch, error)
        except DeliveryError as error:
            await self._give_up(fetch, error)
        except Exception as error:
            logger.exception("file %s could not be fetched", fetch.artifact_id)
            await self._again(fetch, error)

    async def _again(self, fetch: FileFetch, error: Exception) -> None:
        """Try later, 1, 3, 9, … seconds from now, or give the file up."""
        reason = str(error) or type(error).__name__
        if fetch.attempts + 1 >= FETCH_ATTEMPTS_MAX:
            return await self._give_up(fetch, error)
        wait_s = min(FETCH_RETRY_S * 3.0**fetch.attempts, FETCH_RETRY_MAX_S)
        if isinstance(error, Throttled):
            wait_s = max(wait_s, error.retry_after_s)
        retry_at = self._clock.time() + wait_s
        self._retry_at = max(self._retry_at, retry_at)
        await self._files.not_fetched(fetch.artifact_id, reason, retry_at=retry_at)

    async def _give_up(self, fetch: FileFetch, error: Exception) -> None:
        """Record that the file is not to be had, with words for the person who sent it."""
        name = fetch.attachment.name or fetch.attachment.kind
        told = f"I could not get your file ({name}). Please send it again."
        if isinstance(error, DeliveryError) and error.code == TOO_LARGE:
            told = f"Your file ({name}) is too large for me."
            size_max = self._config.inbound_bytes_max
            if (fetch.attachment.size or size_max) >= size_max:  # else the network's own limit
                told += f" I take files of up to {size_max / 1_048_576:.3g} MB."
        reason = str(error) or type(error).__name__
        await self._files.not_fetched(fetch.artifact_id, reason, told=told)

    async def _sweep(self) -> None:
        now = self._clock.time()
        if now - self._swept_at >= SWEEP_EVERY_S:
            self._swept_at = now
            gone = await self._files.sweep(now - self._config.keep_days * 86_400.0)
            if gone:
                logger.info("%d files were kept long enough and are deleted", gone)
