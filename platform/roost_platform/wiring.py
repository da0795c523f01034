"""The composition root: it makes running parts of the settings. All packages meet only here."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from temporalio.client import Client

from roost_channels.channel import Channel, check_agreement
from roost_channels.config import Progress
from roost_channels.delivery.courier import Courier
from roost_channels.files import ChannelFiles, Fetcher
from roost_channels.kinds import ChannelPorts
from roost_channels.outbox import Receipts
from roost_channels.progress.renderer import ProgressRenderer
from roost_inference.client.engine_client import EngineClient
from roost_inference.client.sessions import EngineSessions
from roost_platform.alerts.watch import AlertWatch
from roost_platform.commands import MENU
from roost_platform.data_folder.engine_key import with_engine_key
from roost_platform.db import models
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.retention import Retention
from roost_platform.db.stores import Stores, open_stores
from roost_platform.dueclock import due_clock
from roost_platform.errors import ConfigError, NotReachable
from roost_platform.intake import PlatformIntake, TemporalDoorbell
from roost_platform.settings.config import Settings
from roost_platform.settings.rules import approval_rules
from roost_platform.sweeper import Sweeper
from roost_platform.version import VERSION
from roost_platform.watchdog import Watchdog
from roost_workflows.agents import AgentRegistry, load_agents
from roost_workflows.errors import AgentsError
from roost_workflows.hints.engine_hints import EngineHints
from roost_workflows.hints.session_hints import SessionHints
from roost_workflows.ports import Ports
from roost_workflows.warmup import warm

log = logging.getLogger(__name__)

STORAGE_WAIT_S = 60.0
STORAGE_RETRY_S = 0.5


def load_registry(settings: Settings) -> AgentRegistry:
    """Load the agents of this installation; raises ConfigError, which names the one that fails."""
    try:
        return load_agents(",".join(settings.agents))
    except AgentsError as error:
        raise ConfigError(str(error)) from error


def access_policies(settings: Settings) -> Mapping[tuple[str, str], AccessPolicy]:
    """Return who may talk, by (channel, account)."""
    return {
        (kind.channel, config.account): AccessPolicy(config.access, config.allowlist)
        for kind, config in settings.accounts()
    }


@contextlib.asynccontextmanager
async def open_storage(settings: Settings) -> AsyncIterator[Stores]:
    """Open the stores once the database has our tables; raises NotReachable after a minute."""
    registry = load_registry(settings)
    stores = open_stores(
        settings.database_url,
        policies=access_policies(settings),
        default_agent=registry.default,
        agents=registry.names,
        version=VERSION,
        tenant_scope=settings.sessions.tenant,
        files=settings.data_dir / "files",
        queueing=replace(settings.inbound.rules, by_agent=registry.queues),
        abort_phrases=settings.inbound.abort_phrases,
        delivery=settings.delivery,
        progress_modes=progress_modes(settings),
        approvals=approval_rules(settings),
    )
    try:
        await _until_usable(stores)
        yield stores
    finally:
        await stores.close()


@contextlib.asynccontextmanager
async def engine_client(settings: Settings) -> AsyncIterator[EngineClient]:
    """Open a client of the engine in use, bundled or not."""
    engine = with_engine_key(settings).engine
    # A name given to the bundled core is what it answers to, so it can be asked for as well.
    client = EngineClient(
        settings.engine_url,
        api_key=engine.api_key.get_secret_value(),
        model=engine.model_name or "",
    )
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def engine_hints(engine: EngineClient) -> AsyncIterator[EngineHints]:
    """Open the way by which hints about sessions reach the engine."""
    hints = EngineHints(EngineSessions(engine))
    try:
        yield hints
    finally:
        await hints.close()


@contextlib.asynccontextmanager
async def warming(
    settings: Settings, stores: Stores, engine: EngineClient, registry: AgentRegistry
) -> AsyncIterator[None]:
    """Have the default agent's prefix computed for every account while the block runs; where each
    chat has a salt of its own there is nothing to share.
    """
    agent = registry.agent(registry.default)

    async def run() -> None:
        salts = await stores.tenants.salts(access_policies(settings))
        if agent is not None and salts:
            await warm(engine, agent, salts)

    task = asyncio.create_task(run())
    task.add_done_callback(_log_failure)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def _log_failure(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.warning("warming failed: %r", error)


def worker_ports(stores: Stores, hints: SessionHints) -> Ports:
    """Return what sessions use of storage and of the engine."""
    return Ports(
        turns=stores.turns,
        notes=stores.notes,
        artifacts=stores.artifacts,
        hints=hints,
        waits=stores.waits,
        schedules=stores.schedules,
        flows=stores.flows,
    )


async def temporal_doorbell(settings: Settings) -> TemporalDoorbell:
    """Return a doorbell that connects when it first rings: no message waits for Temporal."""
    client = await Client.connect(
        settings.temporal_address, namespace=settings.temporal.namespace, lazy=True
    )
    return TemporalDoorbell(client, settings.worker.task_queue)


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


def progress_modes(settings: Settings) -> Mapping[tuple[str, str], Progress]:
    """Return what people see of work in progress where their chat chose nothing, by account."""
    return {(kind.channel, config.account): config.progress for kind, config in settings.accounts()}


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
            "watch due times": due_clock(stores.database, intake.ring).run(),
            "delete": Retention.of(stores.database, settings.retention, settings.gateway).run(),
            "watch turns": Watchdog(
                stores,
                doorbell,
                no_progress_s=settings.worker.no_progress_s,
                slots=settings.worker.max_concurrent_activities,
            ).run(),
            "watch for alerts": AlertWatch(stores, settings.alerts, settings.data_dir).run(),
            **{
                f"ingest {channel.name} {channel.account}": channel.ingest(intake)
                for channel in channels
            },
        }
        try:
            yield CourierProcess(stores, jobs)
        finally:
            await intake.close()
            for channel in channels:
                await channel.close()


async def _until_usable(stores: Stores) -> None:
    """Wait for the migration, which may start after this part."""
    deadline, is_told = time.monotonic() + STORAGE_WAIT_S, False
    while True:
        try:
            async with stores.database.read() as session:
                await session.execute(select(models.Conversation.id).limit(1))
            return
        except (DBAPIError, OSError) as error:
            if time.monotonic() > deadline:
                raise NotReachable(
                    f"The database has no tables or does not answer; `roost migrate` makes them: "
                    f"{str(error).splitlines()[0]}"
                ) from error
            if not is_told:
                is_told = True
                where, reason = stores.database.url.render_as_string(), str(error).splitlines()[0]
                log.warning(
                    "the database %s can't be used yet (%s); trying for %.0f s",
                    *(where, reason, STORAGE_WAIT_S),
                )
        await asyncio.sleep(STORAGE_RETRY_S)
