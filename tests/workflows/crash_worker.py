"""A worker process for the crash tests: `crash_worker.py ADDRESS QUEUE ENGINE_URL STORE LOG GATE`.

Its tools write a line to LOG each time they begin and then wait for the file GATE, so that a test
can kill this process in the middle of one. SIGTERM ends it in order.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from roost import Agent, Context, tool
from roost.effects import Effect
from roost.tools import Tool
from roost_inference.client.engine_client import EngineClient
from roost_workflows.agents import AgentRegistry
from roost_workflows.config import WorkerConfig
from roost_workflows.server.connection import connect
from roost_workflows.testing import remote_ports
from roost_workflows.worker import end_process, run_worker

ADDRESS, QUEUE, ENGINE_URL, STORE, LOG, GATE = sys.argv[1:]


def write(line: str) -> None:
    with Path(LOG).open("a") as log:
        log.write(f"{line}\n")


async def pass_gate() -> None:
    while not Path(GATE).exists():
        await asyncio.sleep(0.01)


def gated(effect: Effect) -> Tool:
    async def work(ctx: Context) -> str:
        """Work behind the gate."""
        write(f"run {effect} {ctx.key} attempt {ctx.attempt}")
        await pass_gate()
        return f"{effect} done"

    async def check(key: str) -> str | None:
        write(f"check {key}")
        happened = Path(f"{GATE}.happened")  # names the conversation whose call took effect
        return "found it done" if happened.exists() and happened.read_text() in key else None

    declared = tool(
        effect=effect, name=f"{effect}_work", check=check if effect == "verifiable" else None
    )
    return declared(work)


@tool(effect="pure", timeout=60)
async def fatal_work(ctx: Context) -> None:
    """End the worker, as code that crashes or never lets go of the event loop does in the end."""
    write(f"run fatal {ctx.key} attempt {ctx.attempt}")
    os.kill(os.getpid(), signal.SIGKILL)


worker_agent = Agent(
    "crasher",
    "Work.",
    tools=[gated("pure"), gated("idempotent"), gated("verifiable"), gated("unsafe"), fatal_work],
)


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = await connect(ADDRESS)
    engine = EngineClient(ENGINE_URL)
    config = WorkerConfig(task_queue=QUEUE, graceful_shutdown_s=0)
    registry = AgentRegistry.of(worker_agent)
    write("up")
    notes = Path(f"{GATE}.notes")
    ports = remote_ports(Path(STORE))
    await run_worker(client, ports, engine, registry, config, stop=stop, notes=notes)
    await engine.close()
    write("down")


if __name__ == "__main__":
    asyncio.run(main())
    end_process(0)
