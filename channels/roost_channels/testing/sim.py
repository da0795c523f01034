"""The part of the /sim API that all fakes share: calls, faults, restart and reset."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from roost_channels.http.bodies import parse_json
from roost_channels.testing.fake import Fake
from roost_channels.testing.faults import Fault
from roost_channels.testing.loopback import call_json

RESTART_DELAY_S = 0.05

SimRoute = Callable[
    [str, list[str], dict[str, Any], Mapping[str, str]], Awaitable[dict[str, Any] | None]
]


async def sim_response(
    request: web.Request, parts: list[str], route: SimRoute
) -> web.StreamResponse:
    """Run a route on the JSON body; 400 with a text when it refuses, 404 when it returns None."""
    try:
        body: dict[str, Any] = parse_json(await request.read()) if request.can_read_body else {}
        result = await route(request.method, parts, body, request.query)
    except (ValueError, KeyError, TypeError) as problem:
        return web.json_response({"error": str(problem)}, status=400)
    if result is None:
        return web.json_response({"error": "not found"}, status=404)
    return web.json_response(result)


async def shared_route(
    fake: Fake, verb: str, parts: list[str], body: dict[str, Any], query: Mapping[str, str]
) -> dict[str, Any] | None:
    """Answer a path that every fake has; None for any other path.

    calls?after=N leaves out the first N calls. faults takes the fields of a Fault, or those of a
    FaultPlan (seed, rate and so on). restart takes down_s.
    """
    match (verb, *parts):
        case ("GET", "calls"):
            after = int(query.get("after", "0"))
            return {"calls": [call_json(call) for call in fake.calls[after:]]}
        case ("GET", "early_calls"):
            return {"calls": [call_json(call) for call in fake.early_calls]}
        case ("GET", "faults"):
            plan = fake.core.faults.plan
            return {
                "open": len(fake.core.faults.open),
                "struck": {} if plan is None else dict(plan.struck),
            }
        case ("POST", "faults"):
            if "seed" in body:
                fake.random_faults(**body)
            else:
                fake.core.faults.add(Fault.from_json(body))
        case ("DELETE", "faults"):
            fake.clear_faults()
        case ("POST", "restart"):
            # The response must leave before its server goes down.
            loop = asyncio.get_running_loop()
            down_s = float(body.get("down_s", 0.0))
            loop.call_later(RESTART_DELAY_S, lambda: fake.start_restart(down_s))
        case ("POST", "reset"):
            await fake.reset()
        case _:
            return None
    return {"ok": True}
