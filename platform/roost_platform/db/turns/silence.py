"""Running turns in which nothing happens, and giving one of them up."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.plain import PlainConnection, PlainStatement, read_plain
from roost_platform.db.locks import lock_turn
from roost_platform.db.turns import end
from roost_platform.errors import NotFound, TurnOver

SILENT_MAX = 100  # looked at once, those silent for longest first

_SILENT = PlainStatement(
    select(models.Turn.id, models.Turn.conversation_id, models.RunProgress.updated_at)
    .join(models.RunProgress, models.RunProgress.turn_id == models.Turn.id)
    .where(models.Turn.state == "running", models.RunProgress.updated_at <= bindparam("since"))
    .order_by(models.RunProgress.updated_at)
    .limit(SILENT_MAX)
)
_LIVELY = PlainStatement(
    select(func.count().label("number"))
    .select_from(models.Turn)
    .join(models.RunProgress, models.RunProgress.turn_id == models.Turn.id)
    .where(models.Turn.state == "running", models.RunProgress.updated_at > bindparam("since"))
)


@dataclass(frozen=True, slots=True)
class SilentTurn:
    """A running turn whose progress row nobody wrote since `updated_at`."""

    turn_id: str
    conversation_id: str
    updated_at: float


class SilentTurns:
    """Finds them and gives them up; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, since: float) -> tuple[Sequence[SilentTurn], int]:
        """Turns without progress since then, and how many others make some."""

        def find(connection: PlainConnection) -> tuple[list[SilentTurn], int]:
            rows = _SILENT.run(connection, {"since": since}).all()
            [lively] = _LIVELY.run(connection, {"since": since}).all()
            return [SilentTurn(*row) for row in rows], lively.number

        return await read_plain(self._database, find)

    async def give_up(self, turn: SilentTurn, error: str) -> bool:
        """End the turn as failed unless it made progress meanwhile; whether it was ended."""
        async with self._database.write() as session:
            try:
                row, _ = await lock_turn(session, turn.turn_id)
            except (NotFound, TurnOver):
                return False
            progress = await session.get(models.RunProgress, turn.turn_id)
            if progress is not None and progress.updated_at != turn.updated_at:
                return False
            row.error = "\n\n".join(part for part in (row.error, error) if part)
            now = self._database.now()
            await end.settle(session, turn.turn_id, "failed", "no_progress", now)
            return True
