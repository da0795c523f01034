"""Faults to inject between a provider and us: single ones, or random ones from a seed."""

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from roost_channels.testing.tasks import Tasks

FaultKind = Literal[
    "drop_before",
    "drop_after",
    "delay",
    "http_502",
    "http_500",
    "rate_limit",
    "unauthorized",
    "garbage",
    "cut_body",
    "duplicate_update",
    "out_of_order",
]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
# The default of a random plan: a revoked token would not go away by itself.
PASSING_KINDS: tuple[FaultKind, ...] = tuple(k for k in FAULT_KINDS if k != "unauthorized")
# These strike calls; the other two strike events for us.
CALL_FAULTS: tuple[FaultKind, ...] = FAULT_KINDS[:-2]
FAULTS_MAX = 1000
# An event that out_of_order holds back is released after this time when none follows it.
OUT_OF_ORDER_MAX_S = 2.0


def whole_seconds(wait_s: float) -> int:
    """A wait in the whole seconds of a header: rounded up, at least 1."""
    return max(1, math.ceil(wait_s))


@dataclass(slots=True)
class Fault:
    """One fault to inject.

    kind: what happens.
        drop_before cuts the connection before the work; drop_after does the work first.
        delay waits `value` seconds and then does the work, even when the caller hung up.
        http_502, http_500, unauthorized answer with that error.
        rate_limit answers 429 with a wait of `value` seconds.
        garbage answers invalid JSON; cut_body does the work and hangs up inside the response.
        duplicate_update delivers the next event twice; out_of_order delivers it after the one
        that follows, or after two seconds.
    method: the API method or event that it strikes, `*` for any; compared without regard to case.
    count: how often it strikes, -1 for always. skip: how many matching calls pass first.
    """

    kind: FaultKind
    method: str = "*"
    count: int = 1
    value: float = 0.0
    skip: int = 0

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """A fault from the body of a /sim request."""
        return cls(
            body["kind"],
            str(body.get("method", "*")),
            int(body.get("count", 1)),
            float(body.get("value", 0.0)),
            int(body.get("skip", 0)),
        )


@dataclass(slots=True)
class FaultPlan:
    """Random faults that a seed repeats: the nth call of a method always gets the same fault.

    rate: the share of calls that get one. methods: only these, all when empty. spare: never these.
    delay_s, retry_after_s: the longest delay and the longest wait of a rate limit.
    struck: how many faults of each kind struck so far.
    """

    seed: int
    rate: float
    kinds: Sequence[FaultKind] = PASSING_KINDS
    methods: Sequence[str] = ()
    spare: Sequence[str] = ()
    delay_s: float = 0.5
    retry_after_s: float = 2.0
    struck: Counter[str] = field(default_factory=Counter)
    _seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if unknown := set(self.kinds) - set(FAULT_KINDS):
            raise ValueError(f"unknown faults: {', '.join(sorted(unknown))}")
        if not 0 <= self.rate <= 1:
            raise ValueError("rate is a share between 0 and 1")

    def draw(self, method: str, kinds: Sequence[str]) -> Fault | None:
        """The fault for the next call of `method`, one of `kinds`, or None."""
        name = method.lower()
        listed = [other.lower() for other in self.methods]
        if (listed and name not in listed) or name in [other.lower() for other in self.spare]:
            return None
        # Events and calls have different names, so each has its own count.
        self._seen[name] += 1
        chance = random.Random(f"{self.seed}:{name}:{self._seen[name]}")
        struck = chance.random() < self.rate
        possible = [kind for kind in self.kinds if kind in kinds]
        if not struck or not possible:
            return None
        kind = chance.choice(possible)
        longest = self.retry_after_s if kind == "rate_limit" else self.delay_s
        self.struck[kind] += 1
        return Fault(kind, method, value=chance.uniform(0, longest))


class FaultBook:
    """The single faults still to come, first in first out, then those of a random plan.

    delayed: the calls that a delay holds back now.
    """

    def __init__(self) -> None:
        self.delayed = Tasks("delayed calls")
        self._open: list[Fault] = []
        self.plan: FaultPlan | None = None

    @property
    def open(self) -> tuple[Fault, ...]:
        """The single faults that have not struck yet."""
        return tuple(self._open)

    def add(self, fault: Fault) -> None:
        """Add a single fault; ValueError for an unknown kind or after FAULTS_MAX."""
        if fault.kind not in FAULT_KINDS:
            raise ValueError(f"unknown fault {fault.kind!r}; known: {', '.join(FAULT_KINDS)}")
        if len(self._open) >= FAULTS_MAX:
            raise ValueError(f"more than {FAULTS_MAX} faults are open")
        self._open.append(fault)

    def clear(self) -> None:
        """Remove all faults and the plan."""
        self._open.clear()
        self.plan = None

    def take(self, method: str, kinds: Sequence[str]) -> Fault | None:
        """The fault for this call, one of `kinds`, and count it; None without one."""
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
        return None if self.plan is None else self.plan.draw(method, kinds)
