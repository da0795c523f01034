"""A worker with a flow over a real database: `flow_worker.py ADDRESS QUEUE DATABASE_URL FOLDER`.

It begins to work when it reads a line. Its tools and its function kill the worker with SIGKILL at
the places that the file FOLDER/kills names, each once.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from roost import Context, FlowContext, flow, tool
from roost_inference.client.engine_client import EngineClient
from roost_platform.db.stores import open_stores
from roost_platform.wiring.worker import worker_ports
from roost_workflows.agents import AgentRegistry
from roost_workflows.config import WorkerConfig
from roost_workflows.hints.session_hints import NoHints
from roost_workflows.server.connection import connect
from roost_workflows.worker import end_process, run_worker

ADDRESS, QUEUE, DATABASE_URL, FOLDER = sys.argv[1:]
LOG = Path(FOLDER) / "log"


def write(line: str) -> None:
    with LOG.open("a") as log:
        log.write(f"{line}\n")


def die_at(place: str) -> None:
    """Kill this process the first time it comes here, if the test wants it."""
    kills = Path(FOLDER) / "kills"
    if (
        kills.exists()
        and place in kills.read_text().split()
        and f"died at {place}" not in (LOG.read_text().splitlines())
    ):
        write(f"died at {place}")
        os.kill(os.getpid(), signal.SIGKILL)


@tool(effect="idempotent")
async def book(ctx: Context, city: str) -> str:
    """Book."""
    die_at("before-effect")
    write(f"book {city} {ctx.key.split(':', 1)[1]}")
    die_at("after-effect")
    return f"booked {city}"


@tool(effect="idempotent")
async def cancel(city: str) -> str:
    """Cancel."""
    die_at("in-undo")
    write(f"cancel {city}")
    return "cancelled"


@flow
async def trip(ctx: FlowContext, message: str) -> str:
    """Book two cities."""
    die_at("at-start")
    ctx.compensate(cancel, city="Rome")
    first = await ctx.call(book, city="Rome")
    die_at("after-first")
    await ctx.sleep(0.2)
    die_at("after-sleep")
    if message == "fail":
        raise LookupError("sold out")
    return f"{first} for {message}"


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = await connect(ADDRESS)
    engine = EngineClient("http://127.0.0.1:9")
    stores = open_stores(DATABASE_URL)
    config = WorkerConfig(task_queue=QUEUE, graceful_shutdown_s=0)
    registry = AgentRegistry.of(trip)
    await asyncio.to_thread(sys.stdin.readline)
    write("up")
    ports = worker_ports(stores, NoHints())
    await run_worker(client, ports, engine, registry, config, stop=stop)
    await engine.close()
    await stores.close()


if __name__ == "__main__":
    asyncio.run(main())
    end_process(0)
