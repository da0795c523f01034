"""`roost serve worker`: runs sessions, which are workflows and their activities."""

from roost_platform.errors import NotReachable
from roost_platform.processes.asynchronous import ProcessContext, run_until_stopped
from roost_platform.settings.config import Settings

TEMPORAL_WAIT_S = 60.0


def run(settings: Settings) -> int:
    """Serve until SIGTERM; returns the exit code."""
    return run_until_stopped(_work, settings)


async def _work(running: ProcessContext) -> None:
    # Loaded here, when a stop is already noticed: loading them takes a second or more.
    from roost_platform.intake import TemporalDoorbell, ringing
    from roost_platform.processes.beating import beating
    from roost_platform.provisioning.models import routed_models
    from roost_platform.telemetry.measuring import measured
    from roost_platform.wiring import (
        engine_client,
        engine_hints,
        load_registry,
        open_storage,
        warming,
        worker_ports,
    )
    from roost_workflows.definitions.versions import versions_of
    from roost_workflows.server.connection import connect
    from roost_workflows.worker import run_worker

    settings = running.settings
    registry = load_registry(settings)
    async with (
        open_storage(settings) as stores,
        engine_client(settings) as engine,
        engine_hints(engine) as hints,
        routed_models(settings, stores.database, engine, registry) as models,
    ):
        await stores.agent_versions.record(versions_of(registry))
        try:
            client = await connect(
                settings.temporal_address, settings.temporal.namespace, timeout_s=TEMPORAL_WAIT_S
            )
        except TimeoutError as error:
            raise NotReachable(str(error)) from error
        async with (
            measured(settings, "worker", stores.database),
            beating(stores.heartbeats, "worker", running.ready),
            warming(settings, stores, engine, registry),
            ringing(stores, TemporalDoorbell(client, settings.worker.task_queue)),
        ):
            await run_worker(
                client,
                worker_ports(stores, hints),
                models,
                registry,
                settings.worker,
                stop=running.stop,
                ready=running.ready,
                notes=settings.data_dir / "run",
                images=settings.engine.images,
            )
