"""The ports over a store in memory, in this process or in another one."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any, Literal, cast

from roost_workflows.ports import (
    CallContext,
    CallRecord,
    CallStatus,
    ModelCall,
    Ports,
    Snapshot,
    StepRecord,
    TurnContext,
    TurnRecord,
)
from roost_workflows.storage.ends import Settled
from roost_workflows.storage.tools import Note
from roost_workflows.testing.store import MemoryStore

AUTH_KEY = b"tests"


class MemoryTurns:
    """The Turns port over a store, here or in another process."""

    def __init__(self, call: Callable[..., Any], is_remote: bool) -> None:
        self._call = call
        self._is_remote = is_remote

    async def _run(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if self._is_remote:
            return await asyncio.to_thread(self._call, method, args, kwargs)
        await asyncio.sleep(0)  # real storage lets others run, too
        return self._call(method, args, kwargs)

    async def begin(self, conversation_id: str) -> TurnRecord | None:
        """See `Turns.begin`."""
        return cast(TurnRecord | None, await self._run("begin", conversation_id))

    async def get(self, turn_id: str) -> TurnRecord:
        """See `Turns.get`."""
        return cast(TurnRecord, await self._run("get", turn_id))

    async def step(self, turn_id: str, step: int) -> StepRecord | None:
        """See `Turns.step`."""
        return cast(StepRecord | None, await self._run("step", turn_id, step))

    async def context(self, turn_id: str, step: int) -> TurnContext:
        """See `Turns.context`."""
        return cast(TurnContext, await self._run("context", turn_id, step))

    async def commit_step(
        self,
        turn_id: str,
        step: int,
        call: ModelCall,
    ) -> StepRecord:
        """See `Turns.commit_step`."""
        return cast(StepRecord, await self._run("commit_step", turn_id, step, call))

    async def call(self, turn_id: str, step: int, call_id: str) -> CallRecord:
        """See `Turns.call`."""
        return cast(CallRecord, await self._run("call", turn_id, step, call_id))

    async def call_context(self, turn_id: str, step: int, call_id: str) -> CallContext:
        """See `Turns.call_context`."""
        return cast(CallContext, await self._run("call_context", turn_id, step, call_id))

    async def begin_call(self, turn_id: str, step: int, call_id: str) -> CallRecord:
        """See `Turns.begin_call`."""
        return cast(CallRecord, await self._run("begin_call", turn_id, step, call_id))

    async def finish_call(
        self,
        turn_id: str,
        step: int,
        call_id: str,
        *,
        status: CallStatus,
        result: str,
        error: str = "",
        ran_s: float | None = None,
    ) -> None:
        """See `Turns.finish_call`."""
        await self._run(
            "finish_call", turn_id, step, call_id, status=status, result=result, error=error
        )

    async def close_group(self, turn_id: str, step: int) -> None:
        """See `Turns.close_group`."""
        await self._run("close_group", turn_id, step)

    async def stop_requested(self, turn_id: str) -> bool:
        """See `Turns.stop_requested`."""
        return bool(await self._run("stop_requested", turn_id))

    async def worker_died(self, turn_id: str) -> int:
        """See `Turns.worker_died`."""
        return int(await self._run("worker_died", turn_id))

    async def note_error(self, turn_id: str, error: str) -> None:
        """See `Turns.note_error`."""
        await self._run("note_error", turn_id, error)

    async def settle(
        self, turn_id: str, *, outcome: Literal["stopped", "failed"], reason: str
    ) -> Settled:
        """See `Turns.settle`."""
        return cast(Settled, await self._run("settle", turn_id, outcome=outcome, reason=reason))

    async def progress(self, turn_id: str, snapshot: Snapshot) -> None:
        """See `Turns.progress`."""
        await self._run("progress", turn_id, snapshot)


class MemoryNotes:
    """The Notes port over the same store."""

    def __init__(self, turns: MemoryTurns) -> None:
        self._run = turns._run

    async def add(self, person_id: str, text: str, key: str) -> Note:
        """See `Notes.add`."""
        return cast(Note, await self._run("add", person_id, text, key))

    async def list(self, person_id: str) -> Sequence[Note]:
        """See `Notes.list`."""
        return cast(Sequence[Note], await self._run("list", person_id))

    async def remove(self, person_id: str, note_id: int) -> bool:
        """See `Notes.remove`."""
        return bool(await self._run("remove", person_id, note_id))


def memory_ports(store: MemoryStore) -> Ports:
    """Ports over a store in this process."""
    turns = MemoryTurns(store.call, is_remote=False)
    return Ports(turns, MemoryNotes(turns))


class _StoreManager(BaseManager):
    """Serves one store on a socket."""


def serve_store(store: MemoryStore, socket: Path) -> None:
    """Serve `store` to other processes from a daemon thread that ends with this process."""
    _StoreManager.register("store", callable=lambda: store, exposed=("call",))
    server = _StoreManager(address=str(socket), authkey=AUTH_KEY).get_server()
    threading.Thread(target=server.serve_forever, name="store", daemon=True).start()


def remote_ports(socket: Path) -> Ports:
    """Ports over a store that another process serves."""
    _StoreManager.register("store", exposed=("call",))
    manager = _StoreManager(address=str(socket), authkey=AUTH_KEY)
    manager.connect()
    proxy = cast(Any, manager).store()
    turns = MemoryTurns(proxy.call, is_remote=True)
    return Ports(turns, MemoryNotes(turns))
