"""The worker process: runs workflows and activities until it is told to stop."""

import asyncio
import logging
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Final, NoReturn

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkflowRunner

from roost.execution.tool_processes import ToolProcesses
from roost_workflows import names
from roost_workflows.agents import AgentRegistry
from roost_workflows.config import WorkerConfig
from roost_workflows.ports import Ports, Turns
from roost_workflows.session import SessionWorkflow
from roost_workflows.turn.activities import Activities
from roost_workflows.turn.activity_guard import StopWatch
from roost_workflows.turn.model_call import ModelClient
from roost_workflows.turn.suspects import Suspects, left_behind, open_suspects

log = logging.getLogger(__name__)

# After kill -9 of a worker, another one takes a session's next task after this time.
STICKY_TIMEOUT_S: Final = 2
HEARTBEAT_THROTTLE_MS: Final = 500


def build_worker(
    client: Client,
    ports: Ports,
    engine: ModelClient,
    registry: AgentRegistry,
    config: WorkerConfig | None = None,
    *,
    runner: WorkflowRunner | None = None,
    processes: ToolProcesses | None = None,
    suspects: Suspects | None = None,
    images: bool = False,
) -> Worker:
    """A worker over these parts; `async with` it or call `run`.

    processes: where synchronous tools run; without it in threads. suspects: where it is noted for
    which turn the worker computes. images: whether the engine's model sees pictures.
    runner: what runs workflow code. The SDK's sandbox costs a fifth of the worker's time for each
    answer; our one workflow is held to determinism in the tests, which run it in the sandbox, and
    with no run cached, so that every task is a replay.
    """
    config = config or WorkerConfig()
    stops = StopWatch(ports.stops)
    activities = Activities(ports, engine, registry, processes, suspects, stops, images=images)
    throttle = timedelta(milliseconds=HEARTBEAT_THROTTLE_MS)
    return Worker(
        client,
        task_queue=config.task_queue,
        workflows=[SessionWorkflow],
        activities=[
            activities.begin_turn,
            activities.generate,
            activities.call_tool,
            activities.park,
            activities.close_group,
            activities.stop_requested,
            activities.settle,
            activities.undo,
        ],
        workflow_runner=runner or UnsandboxedWorkflowRunner(),
        build_id=names.WORKFLOW_TYPE,  # the default reads and hashes every loaded module
        max_cached_workflows=config.max_cached_workflows,
        max_concurrent_activities=config.max_concurrent_activities,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=STICKY_TIMEOUT_S),
        max_heartbeat_throttle_interval=throttle,
        default_heartbeat_throttle_interval=throttle,
        graceful_shutdown_timeout=timedelta(seconds=config.graceful_shutdown_s),
        # A run that cannot go on fails at once, and the sweeper opens another, which resumes the
        # turn. By default it would retry its task for ever, and the conversation would hang.
        workflow_failure_exception_types=[Exception],
    )


async def run_worker(
    client: Client,
    ports: Ports,
    engine: ModelClient,
    registry: AgentRegistry,
    config: WorkerConfig | None = None,
    *,
    stop: asyncio.Event,
    ready: asyncio.Event | None = None,
    notes: Path | None = None,
    images: bool = False,
) -> None:
    """Work until `stop` is set, then shut down in order. Raises if the worker itself fails.

    notes: the folder in which it is noted for which turns a worker computes; what dead workers left
    there is counted first. images: whether the engine's model sees pictures.
    """
    suspects = Suspects()
    if notes is not None:
        await count_deaths(ports.turns, notes)
        suspects = open_suspects(notes)
    processes = tool_processes(registry)
    processes.warm()
    worker = build_worker(
        *(client, ports, engine, registry, config),
        processes=processes,
        suspects=suspects,
        images=images,
    )
    running = asyncio.create_task(worker.run())
    stopping = asyncio.create_task(stop.wait())
    try:
        if ready is not None:
            ready.set()
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await worker.shutdown()
        await running
    finally:
        stopping.cancel()
        await processes.close()
        suspects.close()


def tool_processes(registry: AgentRegistry) -> ToolProcesses:
    """Processes for the synchronous tools of these agents; says which tools can't have one."""
    tools = [tool for agent in registry for tool in agent.tools]
    processes = ToolProcesses(tools)
    for tool in tools:
        if not tool.is_async and not processes.takes(tool):
            log.warning(
                "tool %s runs in a thread, which can't be ended in every case: it is not found by "
                "name in an importable module",
                tool.name,
            )
    return processes


async def count_deaths(turns: Turns, notes: Path) -> None:
    """Count the deaths that left turns behind in these notes; see WORKER_DEATHS_MAX."""
    for turn_id in left_behind(notes):
        count = await turns.worker_died(turn_id)
        if count:
            log.error("a worker died while it computed for turn %s, time %d", turn_id, count)


def end_process(code: int = 0) -> NoReturn:
    """End the process after an orderly shutdown.

    The interpreter's own end races with Temporal's native threads (SIGABRT).
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
