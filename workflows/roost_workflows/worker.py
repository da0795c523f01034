"""The worker process: runs workflows and activities until it is told to stop."""

import asyncio
import logging
import os
import sys
from datetime import timedelta
from typing import Final, NoReturn

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkflowRunner

from roost_workflows import names
from roost_workflows.agents import AgentRegistry
from roost_workflows.config import WorkerConfig
from roost_workflows.ports import Ports
from roost_workflows.session import SessionWorkflow
from roost_workflows.turn.activities import Activities
from roost_workflows.turn.model_call import Engine

# After kill -9 of a worker, another one takes a session's next task after this time.
STICKY_TIMEOUT_S: Final = 2
HEARTBEAT_THROTTLE_MS: Final = 500


def build_worker(
    client: Client,
    ports: Ports,
    engine: Engine,
    registry: AgentRegistry,
    config: WorkerConfig | None = None,
    *,
    runner: WorkflowRunner | None = None,
) -> Worker:
    """A worker over these parts; `async with` it or call `run`.

    runner: what runs workflow code. The SDK's sandbox costs a fifth of the worker's time for each
    answer; our one workflow is held to determinism in the tests, which run it in the sandbox, and
    with no run cached, so that every task is a replay.
    """
    config = config or WorkerConfig()
    activities = Activities(ports, engine, registry)
    throttle = timedelta(milliseconds=HEARTBEAT_THROTTLE_MS)
    return Worker(
        client,
        task_queue=config.task_queue,
        workflows=[SessionWorkflow],
        activities=[
            activities.begin_turn,
            activities.generate,
            activities.call_tool,
            activities.close_group,
            activities.stop_requested,
            activities.settle,
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
    engine: Engine,
    registry: AgentRegistry,
    config: WorkerConfig | None = None,
    *,
    stop: asyncio.Event,
    ready: asyncio.Event | None = None,
) -> None:
    """Work until `stop` is set, then shut down in order. Raises if the worker itself fails."""
    worker = build_worker(client, ports, engine, registry, config)
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


def end_process(code: int = 0) -> NoReturn:
    """End the process after an orderly shutdown.

    The interpreter's own end races with Temporal's native threads (SIGABRT).
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
