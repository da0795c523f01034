"""Stop all turns that run, those of one agent, or those of one channel, after a second look."""

from dataclasses import dataclass
from typing import Annotated

from starlette.responses import Response

from roost_platform.bulk_stop import STOPPED_MAX, running, stop_running
from roost_platform.console.console import Visit, text_field
from roost_platform.console.page import ConsoleRoute, Page
from roost_platform.errors import Refused
from roost_platform.identity.roles import Role


@dataclass(frozen=True, slots=True)
class BulkStopContext:
    """What would be stopped."""

    agent: Annotated[str, "The agent it is narrowed to, empty for all"]
    channel: Annotated[str, "The channel it is narrowed to, empty for all"]
    agents: Annotated[tuple[tuple[str, str], ...], "The agents that can be chosen"]
    count: Annotated[int, "How many turns would be stopped"]
    most: Annotated[int, "How many one press stops"] = STOPPED_MAX


async def load(visit: Visit) -> BulkStopContext:
    """Count what runs."""
    agent, channel = visit.query("agent"), visit.query("channel")
    found = await running(visit.deps.stores, agent=agent, channel=channel)
    names = (("", "Any agent"), *((name, name) for name in visit.deps.agents))
    return BulkStopContext(agent, channel, names, len(found))


async def stop(visit: Visit) -> Response:
    """Stop them; refused without the confirmation."""
    form = await visit.form()
    if form.get("confirm") != "yes":
        raise Refused("Confirm that these turns are to be stopped.")
    done = await stop_running(
        visit.deps.stores,
        visit.deps.intake,
        visit.me.name,
        visit.ip,
        agent=text_field(form, "agent", required=False, length_max=64),
        channel=text_field(form, "channel", required=False, length_max=64),
    )
    return visit.done(done.words, "/sessions")


PAGE = Page(path="/sessions/stop", template="faults/bulk_stop.html", load=load, role=Role.operator)
ACTIONS = (ConsoleRoute("POST", "/sessions/stop", Role.operator, stop, PAGE),)
