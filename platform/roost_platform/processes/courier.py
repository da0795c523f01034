"""`roost serve courier`: receives by polling and delivers every message."""

from roost_platform.processes.asynchronous import ProcessContext, run_until_stopped
from roost_platform.settings.config import Settings


def run(settings: Settings) -> int:
    """Serve until SIGTERM; returns the exit code."""
    return run_until_stopped(_work, settings)


async def _work(running: ProcessContext) -> None:
    # Loaded here, when a stop is already noticed: loading them takes a second or more.
    from roost_platform.processes.beating import beating
    from roost_platform.telemetry.measuring import measured
    from roost_platform.wiring.courier import open_courier

    async with open_courier(running.settings, running.stop) as courier:
        running.ready.set()
        async with (
            measured(running.settings, "courier", courier.stores.database),
            beating(courier.stores.heartbeats, "courier", running.ready),
        ):
            await courier.run(running.stop)
