"""The process that asks in `kills`: a router over two engines, told what to ask by lines on stdin.

Each line in is `{"id", "prompt", "salt"}`; out come a line for each step, and the answer's text.
"""

import argparse
import asyncio
import contextlib
import json
import sys
from dataclasses import replace
from typing import Any, Final

from roost_inference.client.engine_client import ChatRequest, Completed
from roost_inference.client.routing.control import HttpControl
from roost_inference.client.routing.facts import EngineSummary
from roost_inference.client.routing.pool import EnginePool
from roost_inference.errors import EngineError

PAUSE_S: Final = 0.2
TRIES_MAX: Final = 900  # an engine that was killed may take minutes to load on a busy machine
ANSWER_TOKENS: Final = 4
# Both engines run on the same cores, so no hand-over would ever pay.
SLOWER: Final = 1000.0


class SlowControl(HttpControl):
    """An engine that is said to read slowly."""

    async def summary(self) -> EngineSummary | None:
        """See Control."""
        told = await super().summary()
        if told is None or told.ms_per_token is None:
            return told
        return replace(told, ms_per_token=told.ms_per_token * SLOWER)


def request_of(asked: dict[str, Any]) -> ChatRequest:
    """A greedy request whose answer only the prompt decides."""
    return ChatRequest(
        [{"role": "user", "content": asked["prompt"]}],
        max_tokens=ANSWER_TOKENS,
        temperature=0.0,
        cache_salt=asked["salt"],
        extra={"ignore_eos": True},
    )


def fetched_tokens(completed: Completed) -> int:
    """Tokens whose KV came from the other engine, as the one that answers tells."""
    handover = completed.metrics.get("kv", {}).get("handover") or {}
    return int(handover.get("tokens") or 0)


def tell(**what: Any) -> None:
    """Print a line at once: whoever reads it may kill this process for it."""
    print(json.dumps(what), flush=True)


async def ask(pool: EnginePool, asked: dict[str, Any]) -> None:
    """Ask until an engine answers, as turns do."""
    for _ in range(TRIES_MAX):
        try:
            async with contextlib.aclosing(pool.stream(request_of(asked))) as items:
                async for item in items:
                    if isinstance(item, Completed):
                        tell(answer=item.text, id=asked["id"], fetched=fetched_tokens(item))
                        return
                    tell(step="word", engine="")
        except EngineError as error:
            tell(step="error", engine="", error=error.message)
            await asyncio.sleep(PAUSE_S)
    tell(answer=None, id=asked["id"], fetched=0)


async def until_back(pool: EnginePool) -> None:
    """Wait until the router would use both engines again."""
    for _ in range(TRIES_MAX):
        await pool.router.learn()
        engines = (*pool.router.decode, *pool.router.prefill)
        if all(one.health.is_open and one.summary is not None for one in engines):
            return
        await asyncio.sleep(PAUSE_S)


async def serve(decode: str, prefill: str) -> None:
    """Answer lines until stdin ends."""
    pool = EnginePool([decode], [prefill], on_step=lambda step, one: tell(step=step, engine=one))
    await pool.router.decode[0].control.close()
    pool.router.decode[0].control = SlowControl(decode)
    while line := await asyncio.to_thread(sys.stdin.readline):
        await until_back(pool)
        await ask(pool, json.loads(line))
    await pool.close()


def main() -> int:
    """Run until stdin ends; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m roost_platform.chaos.handover.asking")
    parser.add_argument("--decode", required=True)
    parser.add_argument("--prefill", required=True)
    options = parser.parse_args()
    tell(step="ready", engine="")
    asyncio.run(serve(options.decode, options.prefill))
    return 0


if __name__ == "__main__":
    sys.exit(main())
