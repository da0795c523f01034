"""`roost serve sandbox`: the fake chat networks."""

from roost_platform.processes.asynchronous import ProcessContext, run_until_stopped
from roost_platform.settings.config import Settings
from roost_platform.stack.lifeline import tell_ready


def run(settings: Settings) -> int:
    """Serve until SIGTERM; returns the exit code."""
    return run_until_stopped(_work, settings)


async def _work(running: ProcessContext) -> None:
    from roost_platform.stack.sandbox import open_fakes  # when a stop is already noticed

    async with open_fakes(running.settings):
        running.ready.set()
        tell_ready()
        await running.stop.wait()
