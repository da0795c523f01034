"""Warming: the engine computes the default agent's prefix before anybody writes."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

from roost.agent import Agent
from roost_inference.client.routing.pool import AnyEngine
from roost_inference.client.sessions import EngineSessions
from roost_inference.errors import EngineError, EngineUnavailable, NoSessions
from roost_workflows.turn.requests import warming_request

log = logging.getLogger(__name__)

TENANTS_MAX: Final = 8
REQUEST_TIMEOUT_S: Final = 60.0
# An engine that still loads its model is asked again.
LOOK_AGAIN_S: Final = 1.0
LOOKS_MAX: Final = 120


async def warm(engine: AnyEngine, agent: Agent, cache_salts: Sequence[str]) -> int:
    """Have the agent's prefix computed once for each salt; returns for how many it was computed.

    Best effort and behind all other work. An engine that keeps no sessions is not asked: it may be
    hosted, and bill this. An agent that names a model may be answered by another engine.
    """
    if agent.settings.name:
        return 0
    try:
        if not await _keeps_sessions(engine):
            return 0
        for done, cache_salt in enumerate(cache_salts[:TENANTS_MAX]):
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    await engine.complete(warming_request(agent, cache_salt))
            except TimeoutError:
                log.info("the engine is too busy to be warmed")
                return done
    except EngineError as error:
        log.info("the engine is not warmed: %s", error)
        return 0
    return min(len(cache_salts), TENANTS_MAX)


async def _keeps_sessions(engine: AnyEngine) -> bool:
    for _ in range(LOOKS_MAX):
        with contextlib.suppress(EngineUnavailable):
            try:
                await EngineSessions(engine).list(1)
            except NoSessions:
                return False
            return True
        await asyncio.sleep(LOOK_AGAIN_S)
    return False
