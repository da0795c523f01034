"""The part of the /sim API that the fakes share: its answers, calls, faults, restart and reset."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from roost_channels.testing.fake import Fake
from roost_channels.testing.faults import Fault
from roost_channels.testing.loopback import call_json

RESTART_DELAY_S = 0.05

Route = Callable[
    [str, list[str], dict[str, Any], Mapping[str, str]], Awaitable[dict[str, Any] | None]
]


async def answer(request: web.Request, parts: list[str], route: Route) -> web.StreamResponse:
    """JSON in, JSON out; what the route refuses gets 400 with a text, what it does not know 404."""
    try:
        body: dict[str, Any] = await request.json() if request.can_read_body else {}
        found = await route(request.method, parts, body, request.query)
    except (ValueError, KeyError, TypeError) as problem:
        return web.json_response({"error": str(problem)}, status=400)
    if found is None:
        return web.json_response({"error": "not found"}, status=404)
    return web.json_response(found)


async def shared_route(
    fake: Fake, verb: str, parts: list[str], body: dict[str, Any], query: Mapping[str, str]
) -> dict[str, Any] | None:
    """Answer what is not about people; None when the path is none of these.

    calls?after=N leaves out the first N calls; faults takes one order, or a plan (seed, rate and
    the other fields of FaultPlan); restart takes down_s.
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
            # The answer must leave before the server that carries it goes down.
            loop = asyncio.get_running_loop()
            down_s = float(body.get("down_s", 0.0))
            loop.call_later(RESTART_DELAY_S, lambda: fake.start_restart(down_s))
        case ("POST", "reset"):
            await fake.reset()
        case _:
            return None
    return {"ok": True}
