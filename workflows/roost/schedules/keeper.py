"""Schedules as a tool sees them: keep one for the person, list theirs, and delete one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from roost.schedules.kinds import Kind, Missed, Overlap
from roost.schedules.spec import At, ScheduleError, Spec, read_spec
from roost.schedules.zones import find_zone, local, zone_of

WITHOUT_ZONE = "UTC"


class ZoneUnknown(ScheduleError):
    """The person's time zone is not known: ask which city they are in, and give that as zone."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a tool asks to be kept.

    spec: {in_s}, or what `read_spec` reads: {at}, {every_s, start, end} or {cron}.
    zone: an IANA name or a city; empty for the person's own. missed: None for what suits the kind.
    """

    kind: Kind
    text: str
    spec: Mapping[str, Any]
    zone: str = ""
    missed: Missed | None = None
    overlap: Overlap = "skip"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """A schedule that is kept. code: by which it is named. times: the next ones, in words.

    state: active, paused, done or deleted.
    """

    code: str
    kind: Kind
    text: str
    times: str
    state: str


class ScheduleKeeper(Protocol):
    """Where schedules are kept; the turn tells whose they are, and in which conversation."""

    async def add(self, turn_id: str, key: str, wanted: Wanted) -> Kept:
        """Keep a schedule, once for each `key`. Raises ScheduleError with the mend."""
        ...

    async def list(self, turn_id: str) -> Sequence[Kept]:
        """The person's schedules in this conversation that are not over, the next one first."""
        ...

    async def delete(self, turn_id: str, code: str) -> bool:
        """Delete one of these; False when there is none of that code."""
        ...


class Schedules:
    """Schedules of one person, for one tool call. Adding is idempotent per call."""

    def __init__(self, keeper: ScheduleKeeper | None, key: str, turn_id: str = "") -> None:
        self._keeper = keeper
        self._key = key
        self._turn_id = turn_id
        self._added = 0

    async def add(self, wanted: Wanted) -> Kept:
        """Keep a schedule. Raises ScheduleError with the mend."""
        self._added += 1
        suffix = "" if self._added == 1 else f":{self._added}"
        return await self._require().add(self._turn_id, f"{self._key}{suffix}", wanted)

    async def list(self) -> Sequence[Kept]:
        """The person's schedules in this conversation that are not over, the next one first."""
        return await self._require().list(self._turn_id)

    async def delete(self, code: str) -> bool:
        """Delete one of these; False when there is none of that code."""
        return await self._require().delete(self._turn_id, code)

    def _require(self) -> ScheduleKeeper:
        if self._keeper is None:
            raise ScheduleError("Nothing can be scheduled here.")
        return self._keeper


def resolve(wanted: Wanted, persons_zone: str, now: float) -> tuple[Spec, ZoneInfo]:
    """The times and the zone that are meant. Raises ScheduleError, and ZoneUnknown where the zone
    matters and neither the tool nor the person named one.
    """
    name = persons_zone
    if wanted.zone:
        found = find_zone(wanted.zone)
        if found is None:
            raise ScheduleError(
                f"There is no time zone {wanted.zone[:60]!r}: "
                "give an IANA name such as Europe/Rome."
            )
        name = found
    keys = {key for key, given in wanted.spec.items() if given is not None}
    if not name and keys & {"at", "cron", "start", "end"}:
        raise ZoneUnknown
    zone = zone_of(name or WITHOUT_ZONE)
    if keys == {"in_s"}:
        return At(local(int(now + wanted.spec["in_s"]), zone)), zone
    return read_spec(wanted.spec, zone, now), zone
