"""Conversations on a real Temporal server with a scripted engine, for tests of sessions."""

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final
from uuid import uuid4

from temporalio.client import Client, WorkflowHistory
from temporalio.worker import WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from roost.agent import Agent
from roost.builtin.concierge import concierge
from roost_inference.client.engine_client import EngineClient
from roost_inference.client.sessions import EngineSessions
from roost_inference.testing.scripted import ScriptedEngine
from roost_workflows import names
from roost_workflows.agents import AgentRegistry
from roost_workflows.config import WorkerConfig
from roost_workflows.hints.engine_hints import EngineHints
from roost_workflows.server.connection import connect
from roost_workflows.server.devserver import find_binary, temporal_command
from roost_workflows.state import SessionInput
from roost_workflows.testing.ports import memory_ports
from roost_workflows.testing.records import StoredTurn
from roost_workflows.testing.store import MemoryStore
from roost_workflows.turn.model_call import ModelClient
from roost_workflows.worker import build_worker, tool_processes

POLL_S: Final = 0.01
PATIENCE_S: Final = 30.0
SERVER_END_S: Final = 10.0
# These modules are loaded once and not once per run, which would cost 40 ms and 1 MB each.
PASSTHROUGH: Final = (
    "roost",
    "roost_workflows",
    "roost_inference",
    "pydantic",
    "pydantic_core",
    "annotated_types",
)


@contextlib.contextmanager
def running_server(data_dir: Path, **dynamic_config: str) -> Iterator[str]:
    """A Temporal server with Roost's own settings and these; yields its address, nearly ready.

    Dynamic settings are given with `__` for their dots.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = temporal_command(find_binary(), data_dir, port)
    for name, value in dynamic_config.items():
        command += ["--dynamic-config-value", f"{name.replace('__', '.')}={value}"]
    with (data_dir / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(SERVER_END_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def sandbox() -> WorkflowRunner:
    """The SDK's sandbox, which refuses what is not deterministic."""
    return SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSTHROUGH)
    )


class Lab:
    """One test's conversations: a store, an engine, a task queue and workers over them."""

    def __init__(self, client: Client, engine: ScriptedEngine, engine_client: EngineClient) -> None:
        self.client = client
        self.engine = engine
        self.engine_client = engine_client
        self.queue = f"test-{uuid4().hex[:12]}"
        self.store = MemoryStore()
        self.hints = EngineHints(EngineSessions(engine_client))

    @contextlib.asynccontextmanager
    async def worker(
        self,
        *agents: Agent,
        max_cached_workflows: int = 100,
        engine: ModelClient | None = None,
    ) -> AsyncIterator[None]:
        """A worker in this process; the first agent answers."""
        registry = AgentRegistry.of(*(agents or (concierge,)))
        self.store.agent = registry.default
        config = WorkerConfig(
            task_queue=self.queue,
            max_cached_workflows=max_cached_workflows,
            graceful_shutdown_s=1,
        )
        ports = replace(memory_ports(self.store), hints=self.hints)
        chosen = engine or self.engine_client
        processes = tool_processes(registry)
        try:
            async with build_worker(
                *(self.client, ports, chosen, registry, config),
                runner=sandbox(),
                processes=processes,
            ):
                yield
        finally:
            await processes.close()

    async def say(self, conversation: str, text: str) -> None:
        """A message arrives: committed first, then the doorbell."""
        self.store.say(conversation, text)
        await self.signal(conversation, names.SIGNAL_RING)

    async def stop(self, conversation: str) -> None:
        """A stop arrives: recorded first, then the doorbell."""
        self.store.request_stop(conversation)
        await self.signal(conversation, names.SIGNAL_STOP)

    async def signal(self, conversation: str, signal: str) -> None:
        """Signal the conversation's workflow, starting it when none runs."""
        await self.client.start_workflow(
            names.WORKFLOW_TYPE,
            SessionInput(conversation),
            id=names.workflow_id(conversation),
            task_queue=self.queue,
            start_signal=signal,
        )

    async def until(self, condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
        """Wait until `condition` is true. Raises AssertionError after `patience_s` seconds."""
        deadline = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError("it did not happen in time")
            await asyncio.sleep(POLL_S)

    async def turn(
        self, conversation: str, number: int = 1, patience_s: float = PATIENCE_S
    ) -> StoredTurn:
        """The conversation's turn of this number, once it has ended."""

        def ended() -> bool:
            turns = self.store.turns(conversation)
            return len(turns) >= number and turns[number - 1].state != "running"

        await self.until(ended, patience_s)
        return self.store.turns(conversation)[number - 1]

    async def closed(self, conversation: str) -> None:
        """Wait until the conversation's run has completed."""
        handle = self.client.get_workflow_handle(names.workflow_id(conversation))
        await asyncio.wait_for(handle.result(), PATIENCE_S)

    async def history(self, conversation: str) -> WorkflowHistory:
        """The history of the conversation's latest run."""
        handle = self.client.get_workflow_handle(names.workflow_id(conversation))
        return await handle.fetch_history()


@contextlib.asynccontextmanager
async def open_lab(address: str) -> AsyncIterator[Lab]:
    """A lab on the server at `address`."""
    client = await connect(address, identity="test")
    async with ScriptedEngine() as engine:
        engine_client = EngineClient(engine.base_url)
        try:
            lab = Lab(client, engine, engine_client)
            yield lab
            await lab.hints.close()
        finally:
            await engine_client.close()
