"""Schedules in memory, for tests of agents."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from roost.schedules.keeper import Kept, Wanted, resolve
from roost.schedules.times import check, echo


@dataclass(slots=True)
class MemorySchedules:
    """Keeps what tools schedule, and fires nothing.

    zone: the person's, empty where it is not known. wanted: what was asked for, in order.
    """

    zone: str = ""
    clock: Callable[[], float] = time.time
    wanted: list[Wanted] = field(default_factory=list)
    _kept: dict[str, Kept] = field(default_factory=dict)

    async def add(self, turn_id: str, key: str, wanted: Wanted) -> Kept:
        """See `ScheduleKeeper.add`."""
        if key not in self._kept:
            now = self.clock()
            spec, zone = resolve(wanted, self.zone, now)
            times = check(spec, zone, now, is_check=wanted.kind == "check")
            code = f"{len(self.wanted) + 1:06x}"
            self.wanted.append(wanted)
            told = echo(times, zone)
            self._kept[key] = Kept(code, wanted.kind, wanted.text, told, "active")
        return self._kept[key]

    async def list(self, turn_id: str) -> Sequence[Kept]:
        """See `ScheduleKeeper.list`."""
        return tuple(self._kept.values())

    async def delete(self, turn_id: str, code: str) -> bool:
        """See `ScheduleKeeper.delete`."""
        keys = [key for key, kept in self._kept.items() if kept.code == code]
        for key in keys:
            del self._kept[key]
        return bool(keys)
