"""Has a prefill engine read a prompt, where that is sooner done than where it is answered."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from roost_inference.client.network import is_loopback
from roost_inference.client.routing.engines import RoutedEngine
from roost_inference.client.routing.facts import CachedTokens, EngineSummary, Handover
from roost_inference.client.routing.lease import Lease, LeaseKeeper
from roost_inference.client.routing.prefixes import PrefixIndex
from roost_inference.client.routing.route import Route, RoutedCall
from roost_inference.client.routing.splitting import Link, Reader, Split, best_split
from roost_inference.errors import EngineError, EngineSilent

LOOKUP_TIMEOUT_S: Final = 0.5
# How long a prefill engine may take: what was expected, times this, and a moment; or as long as the
# other engine would, up to a bound: what it has read by then would be lost.
PATIENCE: Final = 2.0
MOMENT_S: Final = 1.0
ALONE_S_MAX: Final = 30.0
PATIENCE_S_MAX: Final = 120.0
# Seen between processes under load; NIC and network decide between machines.
LOCAL_BYTES_PER_S: Final = 400e6
REMOTE_BYTES_PER_S: Final = 100e6
BYTES_PER_TOKEN: Final = 2**17  # of a model with 8 billion weights, where no engine tells
# What is about the answer and not about the prompt, or names what the decode engine has.
NOT_OF_PROMPT: Final = frozenset(
    {
        *("model", "stream", "stream_options", "n", "best_of", "max_tokens"),
        *("max_completion_tokens", "min_tokens", "logprobs", "top_logprobs", "prompt_logprobs"),
        *("return_token_ids", "return_tokens_as_token_ids", "stop", "stop_token_ids"),
        *("session_id", "kv_transfer_params", "ignore_eos"),
    }
)


class HandoverPlanner:
    """Decides about hand-overs with the figures at hand, and asks for one."""

    def __init__(
        self,
        prefill: Sequence[RoutedEngine],
        prefixes: PrefixIndex,
        leases: LeaseKeeper,
        step: Callable[[str, str], None],
    ) -> None:
        self._prefill = prefill
        self._prefixes = prefixes
        self._leases = leases
        self._step = step

    async def offer(self, call: RoutedCall, route: Route) -> Lease | None:
        """The KV of the prompt, as a prefill engine offers it. None where the engine of the route
        reads it as well, and where the prefill engine fails: that is no fault of the request."""
        if call.body.get("prompt_logprobs") is not None:
            return None  # they need all of the prompt computed
        summary = route.engine.summary
        readers = self._readers(summary)
        if summary is None or not readers:
            return None
        known = {
            one.name: self._prefixes.known(one.name, route.chain)
            for one in (route.engine, *readers)
        }
        total = self._prefixes.total(route.chain)
        guess = self._best(route.engine, summary, readers, total, known)
        if guess is None:
            return None
        reader = next(one for one in readers if one.name == guess.reader)
        body = prompt_of(call.body)
        counts = await self._count(call, body, route.engine, reader)
        if counts:
            known |= {name: count.cached for name, count in counts.items()}
            total = max(count.total for count in counts.values())
            exact = self._best(route.engine, summary, [reader], total, known)
            if exact is None:
                return None
            guess = exact
        return await self._ask(body, reader, guess, total - known[reader.name], route)

    def _readers(self, summary: EngineSummary | None) -> list[RoutedEngine]:
        """The engines whose KV the decode engine could use."""
        if summary is None:
            return []
        return [
            one
            for one in self._prefill
            if one.health.is_open
            and one.summary is not None
            and one.summary.compat == summary.compat
            and one.summary.ms_per_token is not None
        ]

    def _best(
        self,
        decode: RoutedEngine,
        summary: EngineSummary,
        readers: Sequence[RoutedEngine],
        total: int,
        known: Mapping[str, int],
    ) -> Split | None:
        speed = summary.ms_per_token
        if speed is None:
            return None
        # The route of this request is counted already.
        is_writing = decode.load > 1
        missing = max(total - known[decode.name], 0)
        answering = Reader(decode.name, speed, missing, is_writing=is_writing)
        splits = []
        for one in readers:
            told = one.summary
            if told is not None and told.ms_per_token is not None:
                missing = max(total - known[one.name], 0)
                queued = one.queued_tokens + one.others * total
                reader = Reader(one.name, told.ms_per_token, missing, queued)
                link = _link(decode, summary, one, told)
                splits.append(best_split(answering, [reader], link, summary.block_tokens))
        return min(
            (one for one in splits if one is not None), key=lambda one: one.split_ms, default=None
        )

    async def _count(
        self,
        call: RoutedCall,
        body: Mapping[str, Any],
        decode: RoutedEngine,
        reader: RoutedEngine,
    ) -> dict[str, CachedTokens]:
        """What both engines have of the prompt, exactly; empty where one can't say in time."""
        asked = [
            asyncio.ensure_future(decode.control.lookup(body, call.session_id)),
            asyncio.ensure_future(reader.control.lookup(body, None)),
        ]
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                counts = await asyncio.gather(*asked)
        except (EngineError, TimeoutError):
            return {}
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return dict(zip((decode.name, reader.name), counts, strict=True))

    async def _ask(
        self,
        body: Mapping[str, Any],
        reader: RoutedEngine,
        split: Split,
        missing: int,
        route: Route,
    ) -> Lease | None:
        self._step("asked", reader.name)
        bound_s = patience_s(split)
        wanted = {**body, "max_tokens": 1, "kv_transfer_params": {"do_remote_decode": True}}
        missing = max(missing, 0)
        reader.in_flight += 1
        reader.queued_tokens += missing
        reader.health.begin()
        task = asyncio.ensure_future(reader.control.prefill(wanted))
        try:
            await asyncio.wait({task}, timeout=bound_s)
            if not task.done():
                raise EngineSilent(f"it has not read a prompt in {bound_s:.1f} s")
            offer = task.result()
        except EngineError as error:
            reader.health.failed(error.message)
            self._give_up(task, reader)
            self._step("no offer", reader.name)
            return None
        except BaseException:
            self._give_up(task, reader)
            raise
        finally:
            reader.in_flight -= 1
            reader.queued_tokens -= missing
            reader.health.left()
        reader.health.worked()
        self._prefixes.learn(reader.name, route.chain, offer.tokens)
        lease = self._lease(offer, reader)
        self._step("offered", reader.name)
        return lease

    def _give_up(self, task: asyncio.Future[Handover], reader: RoutedEngine) -> None:
        """Nobody waits for this offer any more. If it comes all the same, it is given back."""

        async def see() -> None:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled() and task.exception() is None:
                self._lease(task.result(), reader).release()

        self._leases.start(see())

    def _lease(self, offer: Handover, reader: RoutedEngine) -> Lease:
        return self._leases.keep(offer, reader.control, lambda: self._step("released", reader.name))


def patience_s(split: Split) -> float:
    """How long to wait for an offer."""
    expected_s = PATIENCE * split.split_ms / 1000 + MOMENT_S
    return min(max(expected_s, min(split.alone_ms / 1000, ALONE_S_MAX)), PATIENCE_S_MAX)


def prompt_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a chat request that says what its prompt is, and whose."""
    return {name: value for name, value in body.items() if name not in NOT_OF_PROMPT}


def _link(
    decode: RoutedEngine, to: EngineSummary, reader: RoutedEngine, source: EngineSummary
) -> Link:
    """As the decode engine has measured it, else by what such ways usually carry."""
    if to.fetch_ms_per_token is not None:
        return Link(to.fetch_ms_per_token)
    is_local = is_loopback(reader.host) or decode.host == reader.host
    size = to.bytes_per_token or source.bytes_per_token or BYTES_PER_TOKEN
    return Link.assumed(size, LOCAL_BYTES_PER_S if is_local else REMOTE_BYTES_PER_S)
