"""Which processes run calls, and which of them have gone."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import uuid4

from sqlalchemy import bindparam, delete, select, update

from roost_platform.data_folder.process_identity import is_running, start_of
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.insert import insert_missing
from roost_platform.db.base.plain import (
    PlainConnection,
    PlainStatement,
    read_plain,
    write_plain,
)

SWEEP_S: Final = 30.0  # how often each process beats and looks for those that have gone
GONE_AFTER_S: Final = 3 * SWEEP_S  # without a beat
OWNERS_MAX: Final = 1000  # looked at in one sweep

_ROW, _CALL = models.GatewayOwner, models.GatewayCall
_BEAT = PlainStatement(
    update(_ROW).where(_ROW.id == bindparam("owner")).values(beats=_ROW.beats + 1)
)
_OTHERS = PlainStatement(
    select(_ROW.id, _ROW.beats).where(_ROW.id != bindparam("owner")).limit(OWNERS_MAX)
)
_OF_OPEN_CALLS = PlainStatement(
    select(_CALL.owner)
    .where(_CALL.outcome == "", _CALL.owner != bindparam("owner"))
    .distinct()
    .limit(OWNERS_MAX)
)


def new_owner() -> str:
    """The name of this process: its place, pid, start, and something of its own.

    Two processes of one place see each other's pids: it is the boot and the pid namespace, so that
    a container is a place of its own. Where the system tells neither, the place is empty.
    """
    pid = os.getpid()
    return f"{_place()}|{pid}|{start_of(pid)}|{uuid4().hex}"


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


@dataclass(slots=True)
class Owners:
    """Beats for this process and watches the others, whatever their clocks say: one has gone when
    its count stands still for GONE_AFTER_S of our own time, or its pid has ended.

    clock: seconds, monotonic.
    """

    database: Database
    owner: str
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[int | None, float]] = field(default_factory=dict)

    async def beat(self) -> None:
        """Count up for this process."""
        owner = {"owner": self.owner}

        def count_up(connection: PlainConnection) -> bool:
            return _BEAT.run(connection, owner).rowcount > 0

        if not await write_plain(self.database, count_up):
            row = {"id": self.owner, "beats": 1, "started_at": self.database.now()}
            async with self.database.write(is_news=False) as session:
                await insert_missing(session, models.GatewayOwner, **row)

    async def gone(self) -> Sequence[str]:
        """The owners of open calls, and of rows of their own, that run no longer."""
        others = {"owner": self.owner}

        def find(connection: PlainConnection) -> tuple[dict[str, int], set[str]]:
            counts = {row.id: row.beats for row in _OTHERS.run(connection, others).all()}
            return counts, {row.owner for row in _OF_OPEN_CALLS.run(connection, others).all()}

        counts, of_calls = await read_plain(self.database, find)
        owners = {*counts, *of_calls}
        now = self.clock()
        before, self._seen = self._seen, {}
        for owner in owners:
            beats = counts.get(owner)
            known = before.get(owner)
            is_same = known is not None and known[0] == beats
            self._seen[owner] = known if known is not None and is_same else (beats, now)
        return sorted(owner for owner in owners if self._is_gone(owner, now))

    def _is_gone(self, owner: str, now: float) -> bool:
        if now - self._seen[owner][1] >= GONE_AFTER_S:
            return True
        place, _, rest = owner.partition("|")
        pid, _, rest = rest.partition("|")
        start = rest.partition("|")[0]
        is_here = place != "" and self.owner.startswith(f"{place}|")
        return is_here and pid.isdigit() and start != "" and not is_running(int(pid), start)

    async def forget(self, owner: str) -> None:
        """Take out the row of a process without calls."""
        async with self.database.write(is_news=False) as session:
            await session.execute(
                delete(models.GatewayOwner).where(models.GatewayOwner.id == owner)
            )
