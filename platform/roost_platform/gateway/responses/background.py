"""Responses that go on without their client: they are bounded, and can be found and cancelled."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.types import Message

from roost_inference.errors import EngineError, EngineFailed, EngineUnavailable
from roost_platform.gateway.errors import Overloaded, ProviderSilent
from roost_platform.gateway.exchange import Exchange
from roost_platform.gateway.families.responses.family import ResponseCall
from roost_platform.gateway.families.responses.store import ResponseStore
from roost_platform.gateway.leaving import ClientGone

log = logging.getLogger(__name__)

RUNS_MAX: Final = 64  # at once in one process
RUN_S_MAX: Final = 3600.0
# How often a process looks whether another one has cancelled or deleted what runs here.
LOOK_S: Final = 1.0

Serve = Callable[[Exchange], Awaitable[None]]


class _Detached(Exchange):
    """The exchange of a run: its client never leaves, and may read along while it is there."""

    def __init__(self, of: Exchange, follower: Exchange | None) -> None:
        super().__init__({**of.scope, "extensions": {}}, self._never, self._forward)
        self.call_id, self.request_id = of.call_id, of.request_id
        self._body_is_read = True
        self.follower = follower

    async def _never(self) -> Message:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def _forward(self, message: Message) -> None:
        if self.follower is not None:
            await self.follower.pass_on(message)


@dataclass(slots=True)
class _Run:
    """A response that runs. stopping: why it was told to stop; None for a cancel."""

    call: ResponseCall
    exchange: _Detached
    task: asyncio.Task[None] | None = None
    stopping: EngineError | None = None
    was_stopped: bool = False


class BackgroundRuns:
    """The responses that run in this process."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store
        self._runs: dict[str, _Run] = {}
        self._looking: asyncio.Task[None] | None = None

    async def start(self, exchange: Exchange, call: ResponseCall, serve: Serve) -> None:
        """Start a response, and answer its client: with the events as they come if it asks for a
        stream, at once with the queued response otherwise.

        Raises Overloaded, and what `serve` raises before the key may have the response.
        """
        if len(self._runs) >= RUNS_MAX:
            raise Overloaded(f"{RUNS_MAX} background responses run already")
        follower = exchange if call.asked.stream else None
        run = _Run(call, _Detached(exchange, follower))
        self._runs[call.id] = run
        try:
            await call.add()
        except BaseException:
            del self._runs[call.id]
            raise
        queued = dict(call.resource)
        refused: asyncio.Future[EngineError | None] = asyncio.get_running_loop().create_future()
        run.task = asyncio.create_task(self._run(run, serve, refused))
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        admitted = asyncio.create_task(call.is_admitted.wait())
        first: set[asyncio.Future[Any]] = {refused, admitted}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        admitted.cancel()
        if refused.done() and (error := refused.result()) is not None:
            exchange.is_counted = run.exchange.is_counted
            raise error
        if follower is None:
            await exchange.answer(queued)
            return
        with contextlib.suppress(ClientGone), exchange.until_gone():
            await asyncio.wait({run.task})
        run.exchange.follower = None

    def has(self, id: str) -> bool:
        """Whether a response runs here."""
        return id in self._runs

    async def cancel(self, id: str) -> bool:
        """Cancel a response that runs here, and wait until that is stored; False if it does not."""
        return await self._stop(id, None)

    async def close(self) -> None:
        """End all of them; they have failed then."""
        stopped = EngineUnavailable("The gateway was stopped before the response was complete")
        await asyncio.gather(*(self._stop(id, stopped) for id in list(self._runs)))
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    async def _stop(self, id: str, why: EngineError | None) -> bool:
        run = self._runs.get(id)
        if run is None or run.task is None:
            return False
        if not run.was_stopped:  # a second cancel would hit the storing of the first
            run.was_stopped, run.stopping = True, why
            run.task.cancel()
        await asyncio.wait({run.task})
        return True

    async def _run(
        self, run: _Run, serve: Serve, refused: "asyncio.Future[EngineError | None]"
    ) -> None:
        call, exchange = run.call, run.exchange
        exchange.before_end = call.keep
        try:
            error = await self._outcome(run, serve)
            if error is not None and not call.is_admitted.is_set():
                await self._store.delete(call.key_id, call.id)
                refused.set_result(error)
                return
            await self._end(run, error)
        except Exception:
            # The row stays open; whoever asks for it learns that its run is lost.
            log.exception("response %s was not stored", call.id)
        finally:
            if not refused.done():
                refused.set_result(None)
            self._runs.pop(call.id, None)

    async def _outcome(self, run: _Run, serve: Serve) -> EngineError | None:
        """Run it; the error that ended it, None if it is complete or cancelled."""
        try:
            async with asyncio.timeout(RUN_S_MAX):
                await serve(run.exchange)
        except EngineError as error:
            return error
        except TimeoutError:
            return ProviderSilent(f"The response took longer than {RUN_S_MAX:.0f} seconds")
        except asyncio.CancelledError:
            return run.stopping
        except Exception:
            log.exception("response %s failed", run.call.id)
            return EngineFailed("The gateway has failed; see its log")
        return None

    async def _end(self, run: _Run, error: EngineError | None) -> None:
        """Tell and store the end of a response that did not come to its own."""
        call, exchange = run.call, run.exchange
        if not call.is_open:
            await call.keep()
            return
        writer = call.own_writer
        last = writer.cancel() if error is None else writer.fail(error)
        await call.keep()
        if not exchange.has_begun:
            await exchange.begin_stream()
        await exchange.end_stream(last)

    async def _look(self) -> None:
        """Stop what another process has cancelled or deleted."""
        while self._runs:
            await asyncio.sleep(LOOK_S)
            running = [id for id, run in self._runs.items() if run.call.is_open]
            try:
                still_open = await self._store.open_ones(running)
            except Exception as error:
                log.warning("the responses that run could not be looked up: %r", error)
                continue
            for id in set(running) - set(still_open):
                await self._stop(id, None)
        self._looking = None
