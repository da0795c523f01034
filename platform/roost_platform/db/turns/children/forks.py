"""What a child's model reads before its own transcript: all that was said before, if it forks."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.turns.transcript import messages
from roost_workflows.ports import TranscriptMessage


@dataclass(frozen=True, slots=True)
class ReadByChild:
    """What a model call of a child adds to its own transcript.

    before: the messages of the session that it forks, as that session's model was shown them, so
        that the engine finds them computed; empty for a brief task.
    schema: of the answer, None for text. in_background: whether nobody waits for it.
    """

    before: tuple[TranscriptMessage, ...]
    schema: dict[str, Any] | None
    in_background: bool


async def read_by_child(session: AsyncSession, conversation_id: str) -> ReadByChild | None:
    """What a child reads beyond its own transcript; None for a chat."""
    task = await session.get(models.ChildTask, conversation_id)
    if task is None:
        return None
    before: list[TranscriptMessage] = []
    if task.fork_session_id is not None:
        before = await before_fork(session, task)
    return ReadByChild(tuple(before), task.answer_schema, not task.is_waited)


async def before_fork(session: AsyncSession, task: models.ChildTask) -> list[TranscriptMessage]:
    """The messages before a fork; those of a fork of a fork include what came before that."""
    above = await session.get(models.ChildTask, task.parent_id)
    earlier: list[TranscriptMessage] = []
    if above is not None and above.fork_session_id is not None:
        earlier = await before_fork(session, above)
    assert task.fork_session_id is not None
    return [*earlier, *await messages(session, task.fork_session_id, task.fork_position)]
