"""What the agents of one tree may spend together, and each of them with those below it."""

from typing import Final

from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.turns.children.limits import OF_ROOT_MAX, root_turn_id

TOKENS_MAX: Final = 2_000_000  # of all children of one turn, read and written
STEPS_MAX: Final = 200
# Of one child and those below it, in the settings of its conversation.
TOKENS_OF_CHILD: Final = "max_tokens"
STEPS_OF_CHILD: Final = "max_steps"
SPENT: Final = "Not started: what agents may use together for this is used up. Go on yourself."

_CHARGE = (
    update(models.Budget)
    .where(models.Budget.root_turn_id == bindparam("root"))
    .values(tokens=models.Budget.tokens + bindparam("more_tokens"), steps=models.Budget.steps + 1)
    .execution_options(synchronize_session=False)
)
_USED = select(
    func.sum(models.TurnStep.prompt_tokens + models.TurnStep.completion_tokens), func.count()
).where(
    models.TurnStep.turn_id.in_(
        select(models.Turn.id).where(
            or_(
                models.Turn.conversation_id == bindparam("id"),
                models.Turn.conversation_id.in_(
                    select(models.ChildTask.conversation_id).where(
                        models.ChildTask.parent_id == bindparam("id")
                    )
                ),
            )
        )
    )
)


async def reserve(session: AsyncSession, turn: models.Turn) -> str:
    """Count one more child of the tree. Returns why there may be none, for the model; else empty.

    The tree is locked.
    """
    budget = await _budget(session, await root_turn_id(session, turn))
    if budget.children >= budget.children_max or is_spent(budget):
        return SPENT
    budget.children += 1
    return ""


async def charge(session: AsyncSession, turn: models.Turn, tokens: int) -> None:
    """Count a model call of a child."""
    root = await root_turn_id(session, turn)
    await session.execute(_CHARGE, {"root": root, "more_tokens": tokens})


async def limit_of(
    session: AsyncSession, turn: models.Turn, conversation: models.Conversation
) -> str:
    """The limit that a child's turn has reached with those below it, or with its whole tree: one of
    reasons.LIMIT_REASONS; else empty.
    """
    budget = await session.get(
        models.Budget, await root_turn_id(session, turn), populate_existing=True
    )
    if budget is not None and is_spent(budget):
        return "budget_spent"
    most_tokens = conversation.settings.get(TOKENS_OF_CHILD)
    most_steps = conversation.settings.get(STEPS_OF_CHILD)
    if most_tokens is None and most_steps is None:
        return ""
    tokens, steps = (await session.execute(_USED, {"id": conversation.id})).one()
    if most_tokens is not None and (tokens or 0) >= most_tokens:
        return "too_many_tokens"
    # The call that is about to be made counts: it is the last one, and answers.
    return "too_many_steps" if most_steps is not None and steps + 1 >= most_steps else ""


def is_spent(budget: models.Budget) -> bool:
    """Whether the tree has used up its tokens or its model calls."""
    return budget.tokens >= budget.tokens_max or budget.steps >= budget.steps_max


async def _budget(session: AsyncSession, root: str) -> models.Budget:
    budget = await session.get(models.Budget, root, populate_existing=True)
    if budget is None:
        budget = models.Budget(
            root_turn_id=root,
            tokens_max=TOKENS_MAX,
            tokens=0,
            steps_max=STEPS_MAX,
            steps=0,
            children_max=OF_ROOT_MAX,
            children=0,
        )
        session.add(budget)
        await session.flush()
    return budget
