"""One step of a turn: what the model was asked, by section, and what came back."""

from roost_platform.console.console import Visit
from roost_platform.console.page import Page, ReadAs
from roost_platform.console.page_response import in_page_thread
from roost_platform.errors import NotFound
from roost_platform.identity.roles import Role
from roost_platform.views.faults.prompt import PromptView, stored_step, view


async def load(visit: Visit) -> PromptView:
    """The step of the path; raises NotFound."""
    step = visit.param("step")
    number = int(step) if step.isdecimal() and len(step) < 6 else 0
    async with visit.deps.stores.database.read() as session:
        stored = await stored_step(session, visit.param("id"), visit.param("turn"), number)
    if stored is None:
        raise NotFound("There is no such step.")
    # In a thread: it walks over all that people wrote, and other requests go on.
    return await in_page_thread(view, stored, visit.deps.find_agent)


async def on_read(visit: Visit, data: PromptView, read_as: ReadAs) -> None:
    """Record that somebody read the texts, and as what."""
    detail = {"turn": data.turn_number, "step": data.step}
    await visit.audit("prompt.read", data.key, {**detail, "as": read_as})


PAGE = Page(
    path="/sessions/{id}/turns/{turn}/steps/{step}",
    template="faults/prompt.html",
    load=load,
    role=Role.operator,
    has_json=True,
    on_read=on_read,
)
