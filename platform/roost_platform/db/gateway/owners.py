"""Which processes run calls, and which of them have gone."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import uuid4

from sqlalchemy import delete, select, update

from roost_platform.data_folder.process_identity import is_running, start_of
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.insert import insert_missing

SWEEP_S: Final = 30.0  # how often each process beats and looks for those that have gone
GONE_AFTER_S: Final = 3 * SWEEP_S  # without a beat
OWNERS_MAX: Final = 1000  # looked at in one sweep


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
        row = models.GatewayOwner
        async with self.database.write(is_news=False) as session:
            await insert_missing(
                session, row, id=self.owner, beats=0, started_at=self.database.now()
            )
            await session.execute(
                update(row).where(row.id == self.owner).values(beats=row.beats + 1)
            )

    async def gone(self) -> Sequence[str]:
        """The owners of open calls, and of rows of their own, that run no longer."""
        row, call = models.GatewayOwner, models.GatewayCall
        open_calls = (
            select(call.owner)
            .where(call.outcome == "", call.owner != self.owner)
            .distinct()
            .limit(OWNERS_MAX)
        )
        async with self.database.read() as session:
            counts = {
                id: beats
                for id, beats in await session.execute(
                    select(row.id, row.beats).where(row.id != self.owner).limit(OWNERS_MAX)
                )
            }
            owners = {*counts, *await session.scalars(open_calls)}
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
