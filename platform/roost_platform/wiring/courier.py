"""Opens the courier: channels, delivery, the due-clock and what else runs beside them."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from roost_channels.channel import Channel, check_agreement
from roost_channels.delivery.courier import Courier
from roost_channels.files import ChannelFiles, Fetcher
from roost_channels.kinds import ChannelPorts
from roost_channels.outbox import Receipts
from roost_channels.progress.renderer import ProgressRenderer
from roost_platform.alerts.watch import AlertWatch
from roost_platform.commands import MENU
from roost_platform.db.retention import Retention
from roost_platform.db.stores import Stores
from roost_platform.dueclock import due_clock
from roost_platform.intake import PlatformIntake
from roost_platform.settings.config import Settings
from roost_platform.sweeper import Sweeper
from roost_platform.watchdog import Watchdog
from roost_platform.wiring.engine import engine_client, engine_hints
from roost_platform.wiring.ingesting import keep_ingesting
from roost_platform.wiring.storage import open_storage, progress_modes
from roost_platform.wiring.worker import temporal_doorbell


def build_channels(
    settings: Settings, files: ChannelFiles | None = None, receipts: Receipts | None = None
) -> list[Channel]:
    """Open every configured account. files: what answers carry; receipts: how earlier sends stand.

    Adapters are imported when an account is opened: a process loads no library of a network that it
    does not use.
    """
    ports = ChannelPorts(
        settings.public_base_url or "",
        files,
        receipts,
        commands=MENU,
        auth_probe_s=settings.delivery.auth_probe_s,
    )
    channels: list[Channel] = []
    for kind, config in settings.accounts():
        channel = kind.open(config, ports)
        check_agreement(channel)
        channels.append(channel)
    return channels


@dataclass(slots=True)
class CourierProcess:
    """The jobs that the courier runs side by side; an error of one ends them all."""

    stores: Stores
    jobs: Mapping[str, Coroutine[Any, Any, None]]

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set; raises what a job raised."""
        tasks = {asyncio.create_task(job, name=name) for name, job in self.jobs.items()}
        stopping = asyncio.create_task(stop.wait())
        try:
            pending = {stopping, *tasks}
            while not stopping.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {stopping}:
                    task.result()  # a channel fed by webhooks returns at once, others raise
        finally:
            for task in {stopping, *tasks}:
                task.cancel()
            await asyncio.gather(stopping, *tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def open_courier(
    settings: Settings, stop: asyncio.Event | None = None
) -> AsyncIterator[CourierProcess]:
    """Open pollers, delivery lanes, progress and the sweeper over one database.

    stop: from the moment it is set, nothing goes out that was not on its way.
    """
    stop = stop or asyncio.Event()
    async with (
        open_storage(settings) as stores,
        engine_client(settings) as engine,
        engine_hints(engine) as hints,
    ):
        doorbell = await temporal_doorbell(settings)
        intake = PlatformIntake(stores, doorbell, hints)
        channels = build_channels(settings, stores.artifacts, stores.receipts)
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        courier = Courier(
            channels,
            stores.outbox,
            owner,
            config=settings.delivery,
            report=intake.channel_state,
            stop=stop,
        )
        progress = ProgressRenderer(channels, courier.ledger, modes=progress_modes(settings))
        jobs = {
            "deliver": courier.run(),
            "progress": progress.run(),
            "fetch files": Fetcher(
                channels, stores.artifacts, config=settings.files, stop=stop
            ).run(),
            "sweep": Sweeper(stores, doorbell).run(),
            "watch due times": due_clock(stores.database, intake.ring, settings.schedules).run(),
            "delete": Retention.of(stores.database, settings.retention, settings.gateway).run(),
            "watch turns": Watchdog(
                stores,
                doorbell,
                no_progress_s=settings.worker.no_progress_s,
                slots=settings.worker.max_concurrent_activities,
            ).run(),
            "watch for alerts": AlertWatch(
                stores,
                settings.alerts,
                settings.data_dir,
                accounts=frozenset((one.name, one.account) for one in channels),
            ).run(),
            **{
                f"ingest {channel.name} {channel.account}": keep_ingesting(channel, intake)
                for channel in channels
            },
        }
        try:
            yield CourierProcess(stores, jobs)
        finally:
            await intake.close()
            for channel in channels:
                await channel.close()
