"""A schedule by its seed: who writes when, which calls fail, and which process dies where."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

from roost_channels.testing.faults import FaultKind
from roost_platform.chaos.answers import DOES, Question

PARTS = ("courier", "worker", "web")
SECOND_COURIER = "courier 2"
GROUP = "-1001"
BOT = "roost_test_bot"
TELEGRAM_CHATS = ("101", "102")
WHATSAPP_CHATS = ("whatsapp:+4915550010001", "whatsapp:+4915550010002")
CALLS_FAULTY_MAX = 120  # provider calls that may be struck, counted from the first
# Awaits per process among which crashes are drawn; a schedule has a few hundred.
POINTS_MAX = 240
WAITING_POINTS_MAX = 900  # with all that turns with waits do
STORM_S = 40.0  # after this no new fault starts
FAULTS: tuple[tuple[FaultKind, float], ...] = (
    ("drop_before", 3.0),
    ("drop_after", 3.0),
    ("http_502", 2.0),
    ("http_500", 1.0),
    ("garbage", 1.0),
    ("rate_limit", 3.0),
    ("delay", 3.0),
)


@dataclass(frozen=True, slots=True)
class Says:
    """Somebody writes. think_s: how long the agent takes; fill: numbered words of the answer;
    does: see Question; command: is written instead of a question; by: who writes in a group.
    """

    at: float
    chat: str
    word: str
    think_s: float = 0.0
    fill: int = 0
    does: str = ""
    command: str = ""
    trouble: FaultKind | None = None
    by: int = 0

    @property
    def text(self) -> str:
        """The message as the person types it."""
        if self.chat == GROUP:
            return f"{self.command}@{BOT}" if self.command else f"@{BOT} {self._question}"
        return self.command or self._question

    @property
    def _question(self) -> str:
        return str(Question(self.word, self.think_s, self.fill, self.does))


@dataclass(frozen=True, slots=True)
class Crash:
    """A process dies at its nth await, and is started again after `down_s`."""

    part: str
    point: int
    down_s: float


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault of the nth call to a provider."""

    call: int
    kind: FaultKind
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which the database refuses everything."""

    at: float
    until: float


@dataclass(frozen=True, slots=True)
class Jump:
    """The clock of the machine is set forward, or a little back."""

    at: float
    by_s: float


@dataclass(frozen=True, slots=True)
class Edit:
    """Somebody edits under open cards: the tool that pays or the flow, whose worker then starts
    again, or the arguments of a call that waits.
    """

    at: float
    what: str


@dataclass(frozen=True, slots=True)
class Habits:
    """What people do with questions, as probabilities: they decide at all, say yes, press twice;
    delay_s: how long they think at most. strangers: somebody who was not asked presses first;
    stale: a button is pressed that an edit took away; stops: a wait is ended by /stop or /new.
    """

    decides: float = 1.0
    agrees: float = 1.0
    doubles: float = 0.0
    delay_s: float = 0.0
    strangers: float = 0.0
    stale: float = 0.0
    stops: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything in a schedule. `seed` also decides latencies, receipts and what people choose.

    by_words: WhatsApp's cards are answered by words, too. couriers: how many run at once.
    """

    seed: int
    says: tuple[Says, ...]
    crashes: tuple[Crash, ...] = ()
    strikes: tuple[Strike, ...] = ()
    outages: tuple[Outage, ...] = ()
    jumps: tuple[Jump, ...] = ()
    edits: tuple[Edit, ...] = ()
    habits: Habits = Habits()
    by_words: bool = False
    couriers: int = 1
    rings_lost: float = 0.0
    receipts: str = "plain"
    flood: bool = field(default=False)

    @property
    def chats(self) -> tuple[str, ...]:
        """Every chat that somebody writes in, each once."""
        return tuple(dict.fromkeys(say.chat for say in self.says))

    @property
    def parts(self) -> tuple[str, ...]:
        """The processes."""
        return (*PARTS, SECOND_COURIER) if self.couriers == 2 else PARTS

    def without(self, name: str, index: int) -> "Plan":
        """The plan with one item left out, for shrinking."""
        items = list(getattr(self, name))
        del items[index]
        changes: dict[str, Any] = {name: tuple(items)}
        return replace(self, **changes)


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    rng = random.Random(seed)
    chats = rng.sample(TELEGRAM_CHATS + WHATSAPP_CHATS, rng.choice((1, 1, 2, 3)))
    says = sorted(
        (_says(rng, chats, number) for number in range(1, rng.randint(2, 6) + 1)),
        key=lambda say: say.at,
    )
    trouble = rng.choice((0.0, 0.05, 0.15, 0.35))
    strikes = tuple(
        _strike(rng, call) for call in range(1, CALLS_FAULTY_MAX) if rng.random() < trouble
    )
    crashes = tuple(
        Crash(rng.choice(PARTS), rng.randint(1, POINTS_MAX), rng.choice((0.05, 0.5, 3.0)))
        for _ in range(rng.choice((0, 1, 1, 2, 3)))
    )
    return Plan(
        seed=seed,
        says=tuple(says),
        crashes=crashes,
        strikes=strikes,
        rings_lost=rng.choice((0.0, 0.0, 0.3)),
        receipts=rng.choice(("plain", "doubled", "shuffled", "silent", "slow")),
        flood=rng.random() < 0.5,
        outages=_outages(rng),
    )


def draw_waits(seed: int) -> Plan:
    """The plan of a seed in which questions also want what waits: approvals, answers, sleeps,
    other agents, flows and schedules.
    """
    plan, rng = draw(seed), random.Random(f"waits of {seed}")
    says = tuple(_with_wait(rng, one) for one in plan.says)
    jumps = tuple(
        Jump(rng.uniform(1.0, 45.0), rng.choice((20.0, 300.0, 4000.0)))
        for _ in range(rng.choice((0, 0, 0, 1, 2)))
    )
    if all(chat.isdigit() for chat in plan.chats) and rng.random() < 0.2:
        jumps = (*jumps, Jump(rng.uniform(1.0, 30.0), -rng.choice((0.2, 1.0, 3.0))))
    crashes = tuple(
        Crash(
            rng.choice(PARTS), rng.randint(POINTS_MAX, WAITING_POINTS_MAX), rng.choice((0.05, 3.0))
        )
        for _ in range(rng.choice((0, 0, 1, 2)))
    )
    habits = Habits(
        decides=rng.choice((1.0, 0.9, 0.6)),
        agrees=rng.choice((1.0, 0.6)),
        doubles=rng.choice((0.0, 0.5)),
        delay_s=rng.choice((0.1, 3.0, 20.0)),
    )
    return replace(
        plan,
        says=says,
        jumps=jumps,
        crashes=plan.crashes + crashes,
        habits=habits,
        by_words=rng.random() < 0.5,
    )


def _with_wait(rng: random.Random, says: Says) -> Says:
    if says.command:
        return says if rng.random() < 0.6 else replace(says, command="/new")
    if rng.random() < 0.06:
        return replace(says, command=rng.choice(("/tasks", "/schedules", "/approve", "/deny")))
    return replace(says, does=rng.choice(DOES)) if rng.random() < 0.7 else says


def _says(rng: random.Random, chats: list[str], number: int) -> Says:
    chat = rng.choice(chats)
    at = round(rng.uniform(0.0, 20.0), 3)
    if rng.random() < 0.08:
        return Says(at, chat, f"w{number}", command="/stop")
    return Says(
        at,
        chat,
        f"w{number}",
        think_s=rng.choice((0.0, 0.3, 2.0, 5.0)),
        fill=rng.choice((0, 0, 0, 700)),
        does="tool" if rng.random() < 0.2 else "",
        trouble=rng.choice((None, None, None, "duplicate_update", "out_of_order")),
    )


def _outages(rng: random.Random) -> tuple[Outage, ...]:
    starts = [rng.uniform(0.0, 25.0) for _ in range(rng.choice((0, 0, 0, 1, 2)))]
    return tuple(Outage(at, at + rng.choice((0.3, 2.0, 8.0))) for at in starts)


def _strike(rng: random.Random, call: int) -> Strike:
    kind = rng.choices([kind for kind, _ in FAULTS], [weight for _, weight in FAULTS])[0]
    value = 0.0
    if kind == "delay":
        value = rng.choice((0.5, 4.0, 15.0))
    elif kind == "rate_limit":
        value = rng.choice((1.0, 3.0, 20.0))
    return Strike(call, kind, value)
