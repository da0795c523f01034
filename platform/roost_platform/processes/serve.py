"""`roost serve X`: each part as one process that stops on SIGTERM."""

import asyncio
import contextlib
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roost_platform.errors import EXIT_CONFIG, ConfigError, NotReachable, PlatformError
from roost_platform.settings.config import ENGINE_PORT, Settings
from roost_platform.stack import lifeline, local_ports, logs
from roost_platform.stack.lifeline import die_with_parent, tell_ready

if TYPE_CHECKING:
    from roost_platform.db.services import Heartbeats

log = logging.getLogger(__name__)

BEAT_INTERVAL_S = 5.0
DATABASE_WAIT_S = 60.0
DATABASE_RETRY_S = 0.5
TEMPORAL_WAIT_S = 60.0
TEMPORAL_STOP_S = 8.0


def serve(part: str, settings: Settings) -> int:
    """Run a part until it is told to stop; returns the exit code."""
    logs.configure(part, level=settings.log.level, json_lines=settings.log.json_lines)
    runners: dict[str, Callable[[Settings], int]] = {
        "temporal": serve_temporal,
        "engine": serve_engine,
        "worker": _asynchronous(_worker),
        "courier": _asynchronous(_courier),
        "web": serve_web,
        "sandbox": _asynchronous(_sandbox),
    }
    try:
        return runners[part](settings)
    except ConfigError as error:
        log.error("%s", error)
        return EXIT_CONFIG
    except PlatformError as error:
        log.error("%s", error)
    except Exception:
        log.exception("%s failed", part)
    return 1


def migrate(settings: Settings) -> None:
    """Bring the database's tables up to date, waiting for the server if it is only starting."""
    logs.configure("migrate", level=settings.log.level, json_lines=settings.log.json_lines)
    asyncio.run(_migrate(settings))


def serve_temporal(settings: Settings) -> int:
    """The bundled Temporal server, as our child: it dies with us and its exit code is ours."""
    from roost_workflows.devserver import find_binary, lock_data, temporal_command

    port = int(settings.temporal_address.rpartition(":")[2])
    with lock_data(settings.data_dir) as held:
        command = temporal_command(find_binary(), settings.data_dir, port)
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=[held.fileno()],
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
        )
        stopping = False

        def stop(_number: int, _frame: object) -> None:
            nonlocal stopping
            stopping = True
            child.terminate()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        code = child.wait()
    return 0 if stopping else (code or 1)


def serve_engine(settings: Settings) -> int:
    """The bundled inference core."""
    from roost_inference.errors import EngineError
    from roost_inference.server import serve_engine as run_engine
    from roost_platform.data_folder.engine_key import with_engine_key

    engine = with_engine_key(settings).engine
    config = engine.model_copy(update={"port": engine.port or ENGINE_PORT})
    if not local_ports.is_free(config.host, config.port):
        raise local_ports.in_use(config.port, "engine")
    loaded = threading.Event()

    def on_ready() -> None:
        loaded.set()
        tell_ready()

    try:
        run_engine(config, settings.data_dir, on_ready=on_ready)
    except EngineError as error:
        log.error("%s", error)
        return 1 if loaded.is_set() else EXIT_CONFIG
    return 0


def serve_web(settings: Settings) -> int:
    """Console, API and webhooks."""
    from roost_platform.processes.web import run_web

    return run_web(settings)


@dataclass(slots=True)
class Running:
    """What an asynchronous part is given: its settings and the event that ends it.

    ready: set by the part once it works; until then a stop cancels it, for what it waits for
    (the database, Temporal) may never answer.
    """

    settings: Settings
    stop: asyncio.Event
    ready: asyncio.Event


def _asynchronous(part: Callable[[Running], Awaitable[None]]) -> Callable[[Settings], int]:
    async def main(settings: Settings) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        running = Running(settings, stop, asyncio.Event())
        task = asyncio.ensure_future(part(running))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not task.done() and not running.ready.is_set():
            task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    def run(settings: Settings) -> int:
        asyncio.run(main(settings))
        return 0

    return run


async def _worker(running: Running) -> None:
    """Runs sessions: workflows and their activities."""
    from roost_platform.wiring import (
        engine_client,
        engine_orders,
        load_registry,
        open_storage,
        warming,
        worker_ports,
    )
    from roost_workflows.connection import connect
    from roost_workflows.worker import run_worker

    settings = running.settings
    registry = load_registry(settings)
    async with (
        open_storage(settings) as stores,
        engine_client(settings) as engine,
        engine_orders(engine) as orders,
    ):
        try:
            client = await connect(
                settings.temporal_address, settings.temporal.namespace, timeout_s=TEMPORAL_WAIT_S
            )
        except TimeoutError as error:
            raise NotReachable(str(error)) from error
        async with (
            beating(stores.heartbeats, "worker", running.ready),
            warming(settings, stores, engine, registry),
        ):
            await run_worker(
                client,
                worker_ports(stores, orders),
                engine,
                registry,
                settings.worker,
                stop=running.stop,
                ready=running.ready,
                notes=settings.data_dir / "run",
            )


async def _courier(running: Running) -> None:
    """Receives by polling and delivers everything."""
    from roost_platform.wiring import open_courier

    async with open_courier(running.settings, running.stop) as courier:
        running.ready.set()
        async with beating(courier.stores.heartbeats, "courier", running.ready):
            await courier.run(running.stop)


async def _sandbox(running: Running) -> None:
    """Fake Telegram and fake WhatsApp."""
    from roost_platform.stack.sandbox import open_fakes

    async with open_fakes(running.settings):
        running.ready.set()
        tell_ready()
        await running.stop.wait()


async def _migrate(settings: Settings) -> None:
    from sqlalchemy.exc import OperationalError

    from roost_platform.db.base.engine import Database

    database = Database(settings.database_url)
    deadline = time.monotonic() + DATABASE_WAIT_S
    try:
        while True:
            try:
                return await database.migrate()
            except (OperationalError, OSError) as error:
                if database.is_sqlite:
                    raise
                reason = str(error).splitlines()[0]
                # It answers and refuses: a wrong password or name does not mend by waiting.
                refused = "FATAL" in reason and "starting up" not in reason
                if refused or time.monotonic() > deadline:
                    raise NotReachable(f"The database can't be used: {reason}") from error
                await asyncio.sleep(DATABASE_RETRY_S)
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def beating(heartbeats: "Heartbeats", part: str, ready: asyncio.Event) -> AsyncIterator[None]:
    """Once `ready`, tell the supervisor and beat in the database while the block runs."""
    tasks = {
        asyncio.create_task(_beat(heartbeats, part, ready)),
        asyncio.create_task(_beat_supervisor(ready)),
    }
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        lifeline.end_beats()


async def _beat_supervisor(ready: asyncio.Event) -> None:
    await ready.wait()
    while True:
        lifeline.beat()
        await asyncio.sleep(lifeline.BEAT_EVERY_S)


async def _beat(heartbeats: "Heartbeats", part: str, ready: asyncio.Event) -> None:
    await ready.wait()
    while True:
        try:
            await heartbeats.beat(part)
        except Exception:
            # A part that can't say it lives is shown as down; it goes on working meanwhile.
            log.exception("the heartbeat was not written")
        tell_ready()
        await asyncio.sleep(BEAT_INTERVAL_S)
