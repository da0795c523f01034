"""What can go wrong on the way to a provider, to order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

FaultKind = Literal[
    "drop_before",
    "drop_after",
    "delay",
    "http_502",
    "http_500",
    "rate_limit",
    "unauthorized",
    "garbage",
    "duplicate_update",
    "out_of_order",
]
FAULT_KINDS: tuple[str, ...] = get_args(FaultKind)
FAULTS_MAX = 1000


@dataclass(slots=True)
class Fault:
    """One order for trouble.

    kind: drop_before cuts the connection before anything happens; drop_after does the work and
        then cuts it; delay waits `value` seconds and goes on; rate_limit answers 429 with `value`
        seconds to wait; duplicate_update delivers the next event twice; out_of_order delivers it
        after the one that follows.
    method: which API method it hits, `*` for any; compared without regard to case.
    count: how often it strikes, -1 for ever. skip: how many matching calls it lets pass first.
    """

    kind: FaultKind
    method: str = "*"
    count: int = 1
    value: float = 0.0
    skip: int = 0

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        return cls(
            body["kind"],
            str(body.get("method", "*")),
            int(body.get("count", 1)),
            float(body.get("value", 0.0)),
            int(body.get("skip", 0)),
        )


class FaultBook:
    """The orders still open, first come first served."""

    def __init__(self) -> None:
        self._open: list[Fault] = []

    @property
    def open(self) -> tuple[Fault, ...]:
        return tuple(self._open)

    def add(self, fault: Fault) -> None:
        if fault.kind not in FAULT_KINDS:
            raise ValueError(f"unknown fault {fault.kind!r}; known: {', '.join(FAULT_KINDS)}")
        if len(self._open) >= FAULTS_MAX:
            raise ValueError(f"more than {FAULTS_MAX} faults are open")
        self._open.append(fault)

    def clear(self) -> None:
        self._open.clear()

    def take(self, method: str, kinds: tuple[str, ...]) -> Fault | None:
        """The next fault for this call, counted down; None when all goes well."""
        for fault in self._open:
            if fault.kind not in kinds or fault.method.lower() not in ("*", method.lower()):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.count > 0:
                fault.count -= 1
                if fault.count == 0:
                    self._open.remove(fault)
            return fault
        return None
