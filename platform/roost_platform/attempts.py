"""Operators have a failed turn tried again, or a flow forked: recorded, audited, then rung."""

from roost_platform.db.attempts.forking import Forked
from roost_platform.db.attempts.retrying import Retried, turn_to_retry
from roost_platform.db.stores import Stores
from roost_platform.errors import NotFound
from roost_platform.intake import PlatformIntake
from roost_platform.views.workflows.flows.flows import flow_id


async def retry_turn(
    stores: Stores, intake: PlatformIntake, given: str, by: str, ip: str = ""
) -> Retried:
    """Have a failed turn tried again, and ring.

    given: its id, that of a message that it answers, or a session's key or id for its last turn.
    Raises NotFound, and NotAllowed with the reason where a new attempt makes no sense.
    """
    async with stores.database.read() as session:
        turn_id = await turn_to_retry(session, given)
    retried = await stores.operators.retry(turn_id, by, ip)
    intake.ring([retried.conversation_id])
    return retried


async def fork_flow(
    stores: Stores, intake: PlatformIntake, given: str, at: int, by: str, ip: str = ""
) -> Forked:
    """Begin a new run of a flow with the results of the steps before `at`, and ring.

    given: the flow's id, or that of the message that began it. Raises NotFound, and NotAllowed with
    the reason where it can't be forked there.
    """
    async with stores.database.read() as session:
        turn_id = await flow_id(session, given)
    if turn_id is None:
        raise NotFound(f"There is no flow {given!r}.")
    forked = await stores.operators.fork(turn_id, at, by, ip)
    intake.ring([forked.conversation_id])
    return forked
