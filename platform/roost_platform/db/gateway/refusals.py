"""Calls that were refused, counted in rows: the first of its kind at once, its like together."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final

from roost_inference.errors import EngineError
from roost_platform.gateway.ids import new_call_id
from roost_platform.gateway.keys.ports import Reservation, Spent

KINDS_MAX: Final = 256  # of key, model and error between two sweeps
NAME_CHARACTERS_MAX: Final = 256

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Refused:
    """Equal refusals that have no row yet."""

    wanted: Reservation
    spent: Spent
    calls: int = 0


@dataclass(slots=True)
class Refusals:
    """A client that asks again and again costs one row at first and one for each sweep.

    note: writes the row of so many equal calls.
    """

    note: Callable[[Reservation, Spent, int], Awaitable[None]]
    _kinds: dict[tuple[str, str, str], _Refused] = field(default_factory=dict)

    async def add(self, wanted: Reservation, error: EngineError) -> None:
        """Count a refusal; what goes wrong here leaves the refusal as it is."""
        model = wanted.model[:NAME_CHARACTERS_MAX]
        kind = (wanted.key_id, model, error.code)
        if kind not in self._kinds and len(self._kinds) >= KINDS_MAX:
            model, kind = "", ("", "", error.code)  # of whatever key: the count is kept
        if (known := self._kinds.get(kind)) is not None:
            known.calls += 1
            return
        row = replace(wanted, key_id=kind[0], model=model, tokens=0, cost_microusd=0)
        spent = Spent(row.call_id, "refused", error.http_status, error_code=error.code)
        self._kinds[kind] = refused = _Refused(row, spent)
        if not await self._written(row, spent, 1):
            refused.calls += 1

    async def flush(self) -> None:
        """Write a row for each kind that came again since the last time."""
        kinds, self._kinds = self._kinds, {}
        for kind, refused in kinds.items():
            if refused.calls == 0:
                continue
            id = new_call_id()
            row = replace(refused.wanted, call_id=id, session="", person="")
            if not await self._written(row, replace(refused.spent, call_id=id), refused.calls):
                again = self._kinds.setdefault(kind, _Refused(refused.wanted, refused.spent))
                again.calls += refused.calls

    async def _written(self, row: Reservation, spent: Spent, calls: int) -> bool:
        try:
            await self.note(row, spent, calls)
        except Exception as error:
            log.warning("refused calls were not counted yet: %r", error)
            return False
        return True
