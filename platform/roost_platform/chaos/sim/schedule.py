"""One schedule: people write, faults happen, and at rest everything is read into a record."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from roost_channels.testing import StatusPlan
from roost_channels.testing.inprocess import LocalTransport
from roost_channels.testing.telegram import FakeTelegram
from roost_channels.testing.telegram.state.flood import FloodLimits
from roost_channels.testing.twilio import FakeTwilio
from roost_platform.chaos.agents import EDITED
from roost_platform.chaos.invariants import Violation, check
from roost_platform.chaos.reading import Sources, read, unfinished
from roost_platform.chaos.record import Record
from roost_platform.chaos.sim.attacks import edit_arguments
from roost_platform.chaos.sim.life import Life, know_tasks, outside
from roost_platform.chaos.sim.loop import EPOCH_S, Livelock, LoopClock, VirtualLoop
from roost_platform.chaos.sim.network import Network
from roost_platform.chaos.sim.people import People
from roost_platform.chaos.sim.plan import GROUP, STORM_S, Crash, Plan
from roost_platform.chaos.sim.processes import TOKEN, TWILIO, WEB, Parts
from roost_platform.chaos.sim.storage import World, image
from roost_platform.chaos.sim.temporal import SimTemporal
from roost_platform.chaos.waits.looking import parked, waiting, wrong_now

END_S = 1800.0  # work that is unfinished by then is stuck
LOOK_S = 2.0
RESTART_S = 0.5
IDLE_LOOKS = 5  # one after the other; a run that closes takes less
UNDER_WAY = ("accepted", "queued", "sent")
RECEIPTS = {
    "plain": StatusPlan(),
    "doubled": StatusPlan(doubled=True),
    "shuffled": StatusPlan(shuffled=True),
    "silent": StatusPlan(silent=True),
    "slow": StatusPlan(sent_s=6.0, delivered_s=3.0),
}


@dataclass(slots=True)
class Outcome:
    """The result of a schedule. points: awaits of each process, where it could have died."""

    plan: Plan
    record: Record
    violations: list[Violation] = field(default_factory=list)
    points: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    crashes: int = 0
    took_s: float = 0.0


def simulate(plan: Plan) -> Outcome:
    """Run a plan; the same plan gives the same outcome."""
    logging.disable(logging.CRITICAL)  # thousands of faults would write thousands of lines
    image()
    loop = VirtualLoop()
    know_tasks(loop)
    schedule: Schedule | None = None
    try:
        schedule = Schedule(plan)
        return loop.run_until_complete(schedule.run())
    except Livelock as error:
        return Outcome(plan, Record(), [Violation("stuck", "", str(error))])
    finally:
        _clear(loop)
        if schedule is not None:
            schedule.close()
        logging.disable(logging.NOTSET)


def _clear(loop: VirtualLoop) -> None:
    """Cancel every task and let it end, so that none is destroyed while it waits."""
    left = asyncio.all_tasks(loop)
    for _ in range(20):
        if not left:
            break
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        left = asyncio.all_tasks(loop)
    loop.close()


class Schedule:
    """One plan while it runs."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rng = random.Random(plan.seed)
        self._clock = LoopClock()
        self._storage = World(self._clock.time, self._is_storage_away)
        self._temporal = SimTemporal()
        self._lives: dict[str, Life] = {}
        self._points = dict.fromkeys(plan.parts, 0)
        self._crashes: dict[tuple[str, int], Crash] = {(c.part, c.point): c for c in plan.crashes}
        self._restarts: set[asyncio.Task[None]] = set()
        self._deaths: list[float] = []
        self._over = False
        self._wrong: dict[str, None] = {}  # what broke a rule that holds at every moment
        self._idle_runs: Counter[str] = Counter()

    async def run(self) -> Outcome:
        """Let everything happen, wait until nothing is left to do, and check the record."""
        loop = asyncio.get_running_loop()
        self._immortal = Life("observer", lambda _: False, lambda: 0.0)
        await self._open_fakes()
        network = Network(self._plan, self._rng, self._is_calm)
        self._parts = Parts(
            self._plan,
            self._rng,
            self._storage,
            network,
            self._temporal,
            self._telegram,
            self._twilio,
            self._crash,
            self._ended,
        )
        for part in self._plan.parts:
            self._lives[part] = self._parts.start(part)
        people = People(
            self._plan, self._storage.open(self._immortal), self._telegram, self._twilio
        )
        tapping = asyncio.create_task(people.run())
        clock = asyncio.create_task(self._clock_jumps())
        edits = asyncio.create_task(self._edits())
        writing = asyncio.create_task(people.write())
        stuck = await self._until_quiet(writing)
        self._over = True
        tapping.cancel()
        clock.cancel()
        edits.cancel()
        record = await read(self._storage.open(self._immortal), self._sources())
        record.stuck += stuck
        record.waits.wrong += self._wrong
        record.stuck += [f"unhandled: {what}" for what in loop.unhandled]  # type: ignore[attr-defined]
        for life in self._lives.values():
            life.die()
        await self._telegram.stop_in_process()
        await self._twilio.stop_in_process()
        calls = len(self._telegram.calls) + len(self._twilio.calls)
        return Outcome(
            self._plan,
            record,
            check(record),
            self._points,
            calls,
            len(self._plan.crashes) - len(self._crashes),
            loop.time(),
        )

    def close(self) -> None:
        """Release the database."""
        self._storage.close()

    def _written(self) -> list[tuple[str, str]]:
        return [(says.chat, says.word) for says in self._plan.says if not says.command]

    def _sources(self) -> Sources:
        chats = self._plan.chats
        return Sources(
            written=self._written(),
            fills={says.word: says.fill for says in self._plan.says},
            telegram={
                chat: self._telegram.screen_json(int(chat))
                for chat in chats
                if not chat.startswith("whatsapp:")
            },
            whatsapp={
                chat: self._twilio.screen_json(chat)
                for chat in chats
                if chat.startswith("whatsapp:")
            },
            telegram_calls=self._telegram.calls,
            twilio_calls=self._twilio.calls,
            deaths=self._deaths,
            effects=self._storage.effects,
            away=[
                (self._clock_at(one.at), self._clock_at(one.until)) for one in self._plan.outages
            ],
            set_back_s=sum(max(-jump.by_s, 0.0) for jump in self._plan.jumps),
            is_one_courier=self._plan.couriers == 1,
        )

    async def _open_fakes(self) -> None:
        flood = FloodLimits.documented() if self._plan.flood else FloodLimits()
        self._telegram = FakeTelegram(TOKEN, clock=self._clock, port=9, flood=flood)
        transport = LocalTransport(lambda request, limit: self._parts.to_web(request, limit))
        self._twilio = FakeTwilio(
            TWILIO.account_sid or "",
            "test-auth-token",
            TWILIO.account,
            webhook_url=f"{WEB}/hooks/twilio/inbound#rc=5&rp=all",
            status_plan=RECEIPTS[self._plan.receipts],
            clock=self._clock,
            port=9,
            transport=transport,
        )
        await self._telegram.start_in_process()
        self._telegram.add_group(int(GROUP))
        await self._twilio.start_in_process()

    def _look_at_runs(self, parked_ids: Sequence[str]) -> None:
        """A turn that is parked has no run: one that is seen again and again does nothing."""
        idle = {id for id in parked_ids if id in self._temporal.open}
        for id in list(self._idle_runs):
            if id not in idle:
                del self._idle_runs[id]
        self._idle_runs.update(idle)
        for id, looks in self._idle_runs.items():
            if looks >= IDLE_LOOKS:
                self._wrong[f"parked turn: the session {id} stays open"] = None

    def _is_calm(self) -> bool:
        return asyncio.get_running_loop().time() > STORM_S

    def _clock_at(self, at: float) -> float:
        """What the clock that the plan sets read so long after the start."""
        return EPOCH_S + at + sum(jump.by_s for jump in self._plan.jumps if jump.at <= at)

    def _is_storage_away(self) -> bool:
        now = asyncio.get_running_loop().time()
        return any(outage.at <= now < outage.until for outage in self._plan.outages)

    def _crash(self, life: Life) -> bool:
        """Whether a process dies at this await; if so, it is started again later."""
        self._points[life.part] += 1
        crash = self._crashes.pop((life.part, self._points[life.part]), None)
        if crash is None or self._over:
            return False
        self._bring_back(life, crash.down_s)
        return True

    def _ended(self, life: Life) -> None:
        """Start a process again that ended by itself, as the supervisor does."""
        if not self._over:
            self._bring_back(life, RESTART_S)

    def _bring_back(self, life: Life, down_s: float) -> None:
        if life.part.startswith("courier"):
            self._deaths.append(self._clock.time())
        restart = outside(self._back_after(life.part, down_s))
        self._restarts.add(restart)
        restart.add_done_callback(self._restarts.discard)

    async def _back_after(self, part: str, down_s: float) -> None:
        await asyncio.sleep(down_s)
        if not self._over:
            self._lives[part] = self._parts.start(part)

    async def _clock_jumps(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        for jump in sorted(self._plan.jumps, key=lambda jump: jump.at):
            await asyncio.sleep(max(jump.at - loop.time(), 0.0))
            loop.skew_s += jump.by_s

    async def _edits(self) -> None:
        loop = asyncio.get_running_loop()
        for edit in sorted(self._plan.edits, key=lambda edit: edit.at):
            await asyncio.sleep(max(edit.at - loop.time(), 0.0))
            if edit.what == "arguments":
                await edit_arguments(self._storage.open(self._immortal))
            else:
                self._parts.registry = EDITED[edit.what]
                life = self._lives["worker"]
                if not life.is_dead:
                    life.die()
                    self._bring_back(life, RESTART_S)

    async def _until_quiet(self, writing: "asyncio.Task[None]") -> Sequence[str]:
        """Wait until nothing is left to do; returns what is left at END_S, in words."""
        loop = asyncio.get_running_loop()
        database = self._storage.open(self._immortal)
        quiet = 0
        while loop.time() < END_S:
            await asyncio.sleep(LOOK_S)
            left: list[str] = []
            if not writing.done() or self._restarts or self._is_storage_away():
                left.append("people are still writing, or parts are down")
            else:
                left = await unfinished(database, self._written())
                self._wrong |= dict.fromkeys(await wrong_now(database))
                self._look_at_runs(await parked(database))
                left += await waiting(database)
                left += [f"session {talk} is open" for talk in self._temporal.open]
                left += [
                    f"{message.id} is only {message.status}"
                    for message in self._twilio.messages.values()
                    if not message.inbound and message.status in UNDER_WAY
                ]
            quiet = 0 if left else quiet + 1
            if quiet >= 3:
                return ()
        return left
