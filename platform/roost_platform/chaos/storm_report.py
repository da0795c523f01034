"""The parameters of a storm and its result."""

from dataclasses import dataclass, field

from roost_platform.chaos.invariants import Violation
from roost_platform.chaos.record import Record


@dataclass(frozen=True, slots=True)
class StormConfig:
    """The strength of a storm. kill_every_s, write_every_s (of each person): averages."""

    seed: int
    minutes: float
    kill_every_s: float = 5.0
    write_every_s: float = 12.0
    database: str = "sqlite"
    real_engine: bool = False


@dataclass(slots=True)
class StormReport:
    """What was done in a storm, and the result."""

    config: StormConfig
    written: list[tuple[str, str]] = field(default_factory=list)
    fills: dict[str, int] = field(default_factory=dict)
    kills: list[tuple[float, str, int]] = field(default_factory=list)
    record: Record = field(default_factory=Record)
    violations: list[Violation] = field(default_factory=list)
    telegram_calls: int = 0
    twilio_calls: int = 0
    presses: int = 0
    struck: dict[str, int] = field(default_factory=dict)
    settled_s: float = 0.0
    wall_s: float = 0.0
