"""An agent whose tools end or freeze the worker that runs them, for tests of what follows."""

import os
import signal

from roost import Agent, tool


@tool(effect="pure", timeout=60)
async def kill_worker() -> None:
    """End the worker at once."""
    os.kill(os.getpid(), signal.SIGKILL)


@tool(effect="pure", timeout=60)
async def freeze_worker() -> None:
    """Hold the worker's interpreter for good."""
    round(1, -(10**9))


fatal = Agent("fatal", "Work.", tools=[kill_worker, freeze_worker])
