"""For tests: two toy engines, a router between them, and deaths of any of the three at six points.

The clock is the test's, and the engines, leases and fetches are the real ones; only the line
between the engines is made up. A seed decides everything.
"""

import random
from collections import Counter, deque
from collections.abc import Generator, Sequence

from roost_inference.engine import Engine
from roost_inference.kv.block import BLOCK_TOKENS
from roost_inference.kv.handover.handover import Handover, HandoverSettings
from roost_inference.kv.handover.source import SourceError
from roost_inference.kv.tiers.lanes import Job
from roost_inference.request import KvOffer, KvPolicy
from roost_inference.testing.harness import Collector, FakeClock, request, toy_engine, toy_store
from roost_inference.testing.toy import END, ToyBackend, continuation

LEASE_S = 30.0
POINTS = ("offer", "answer", "first_block", "middle", "release", "after")
VICTIMS = ("prefill", "decode", "router", "nobody")
REQUESTS = 2
ANSWER_TOKENS = 4
STEPS_MAX = 200


class Killed(BaseException):
    """The process that computes this is gone: nothing of it runs on."""


class StepLane:
    """A lane whose jobs run when the test says so."""

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()

    def submit(self, job: Job) -> bool:
        """Keep the job."""
        self.jobs.append(job)
        return True

    def close(self, timeout_s: float) -> None:
        """Drop what waits."""
        self.jobs.clear()

    def run(self) -> None:
        """Run what waits, in order."""
        while self.jobs:
            self.jobs.popleft()()


class Process:
    """An engine that can die. identity: of its KV."""

    def __init__(self, clock: FakeClock, identity: str = "toy") -> None:
        self.lane = StepLane()
        self.is_alive = True
        self.engine: Engine = toy_engine(
            ToyBackend(cells=640, sequences=4, identity=identity),
            batch_tokens=512,
            clock=clock,
            store=toy_store(blocks=24, identity=identity, clock=clock),
            handover=HandoverSettings(lease_s=LEASE_S, leases_max=4, lane=lambda name: self.lane),
        )

    @property
    def handover(self) -> Handover:
        """Its part of the hand-over."""
        assert self.engine.handover is not None
        return self.engine.handover

    def kill(self) -> None:
        """Its memory and all it would have sent are gone."""
        self.is_alive = False


class Line:
    """Implements KvSource between two processes of a world."""

    name = "line"

    def __init__(self, world: "World", reader: Process, offer: KvOffer) -> None:
        self._world = world
        self._reader = reader
        self._offer = offer

    def read(self, keys: Sequence[bytes], deadline: float) -> Generator[memoryview, None, None]:
        """The blocks, with a chance to die before each, and to come late or damaged."""
        world, id = self._world, self._offer.request_id
        self._answering()
        nodes = world.prefill.handover.offers.readable(id, keys)
        for number, node in enumerate(nodes):
            world.passes("first_block" if number == 0 else "middle")
            self._answering()
            world.clock.advance(world.rng.choice((0.0, 0.1, 1.0, LEASE_S / 2, LEASE_S * 1.1)))
            form = world.prefill.handover.offers.stored_form(id, node)
            if form is None:
                raise SourceError("cut_off")
            data = bytearray(form[0] + bytes(form[1]))
            if world.rng.random() < 0.05:
                data[world.rng.randrange(len(data))] ^= 1 << world.rng.randrange(8)
            yield memoryview(data)

    def _answering(self) -> None:
        """Raise what a reader sees that is dead itself, or whose peer is another process now."""
        if not self._reader.is_alive:
            raise Killed
        if self._world.prefill.handover.engine_id != self._offer.engine_id:
            raise SourceError("unknown_lease")
        if not self._world.prefill.is_alive:
            raise SourceError("unreachable")

    def renew(self) -> None:
        """Renew, unless the signal is lost."""
        self._signal("renew")

    def release(self) -> None:
        """Release, unless the signal is lost; it may come twice."""
        if self._reader.is_alive:
            self._world.passes("release")
        self._signal("release")

    def _signal(self, signal: str) -> None:
        world, rng = self._world, self._world.rng
        if not self._reader.is_alive or rng.random() < 0.1:
            return
        for _ in range(rng.choice((1, 1, 1, 2))):
            offers = world.prefill.handover.offers
            getattr(offers, signal)(self._offer.request_id)


class World:
    """One seed: some requests, each with a victim and the point at which it dies."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = FakeClock()
        self.prefill, self.decode = Process(self.clock), self._decode()
        self.outcomes: Counter[str] = Counter()
        self.handed_tokens = 0
        self._victim, self._point = "nobody", "after"
        self._is_router_alive = True

    def _decode(self) -> Process:
        # One in ten runs another build.
        process = Process(self.clock, "toy" if self.rng.random() < 0.9 else "other")
        process.handover.fetches.open_source = lambda offer: Line(self, process, offer)
        return process

    def passes(self, point: str) -> None:
        """The work has come to a point: whoever is to die there dies."""
        if point != self._point:
            return
        victim, self._victim = self._victim, "nobody"
        if victim == "prefill":
            self.prefill.kill()
        elif victim == "decode":
            self.decode.kill()
        elif victim == "router":
            self._is_router_alive = False

    def run(self) -> None:
        """All requests, then twice the time of a lease; raises AssertionError where a promise is
        broken."""
        prompts = [self._prompt() for _ in range(2)]
        for _ in range(REQUESTS):
            self._victim, self._point = self.rng.choice(VICTIMS), self.rng.choice(POINTS)
            self.outcomes[self._request(self.rng.choice(prompts))] += 1
            self._restart()
        self.clock.advance(2 * LEASE_S)
        for process in (self.prefill, self.decode):
            process.lane.run()
            process.engine.step()
            process.engine.check()
            assert process.handover.offers.open() == 0, "a lease is left"
            assert not process.handover.fetches.is_reading, "a fetch is left"
            store = process.engine.store
            assert store is not None and store.pinned() == 0, "a block is pinned for ever"

    def _prompt(self) -> bytes:
        length = self.rng.choice(
            (20, BLOCK_TOKENS + 5, 2 * BLOCK_TOKENS - 7, 2 * BLOCK_TOKENS + 20)
        )
        while True:
            prompt = bytes(self.rng.choices(range(97, 123), k=length))
            if END not in continuation(prompt, ANSWER_TOKENS):
                return prompt

    def _restart(self) -> None:
        """A supervisor starts what has died, with nothing in its memory."""
        if not self.prefill.is_alive:
            self.prefill = Process(self.clock)
        if not self.decode.is_alive:
            self.decode = self._decode()
        self._is_router_alive = True

    def _request(self, prompt: bytes) -> str:
        """One request from the router's side: how it ended."""
        offer = self._offer(prompt)
        self.passes("answer")
        if not self._is_router_alive:
            return "client sees the router's end"
        if self.rng.random() < 0.2:
            self.clock.advance(self.rng.choice((1.0, LEASE_S * 2)))
        for _ in range(2):  # a router tries once more, on the process that was started again
            ended = self._answer(prompt, offer)
            if ended is not None:
                self.passes("after")
                return ended
            self._restart_decode()
        return "error"

    def _restart_decode(self) -> None:
        if not self.decode.is_alive:
            self.decode = self._decode()

    def _offer(self, prompt: bytes) -> KvOffer | None:
        heard = Collector()
        wanted = request(tuple(prompt), 1, ignore_eos=True, kv=KvPolicy(hands_over=True))
        self.prefill.engine.submit(wanted, heard)
        self._drive(self.prefill, heard)
        self.passes("offer")
        if not self.prefill.is_alive or not heard.is_finished:
            return None
        offer = heard.finish.offer
        return offer if isinstance(offer, KvOffer) else None

    def _answer(self, prompt: bytes, offer: KvOffer | None) -> str | None:
        """The answer of the decode engine; None if it died."""
        process, heard = self.decode, Collector()
        policy = KvPolicy(offer=offer)
        wanted = request(tuple(prompt), ANSWER_TOKENS, ignore_eos=True, kv=policy)
        process.engine.submit(wanted, heard)
        try:
            self._drive(process, heard, wanted.id)
        except Killed:
            return None
        if not process.is_alive:
            return None
        assert heard.is_finished, "a request that never ends"
        if heard.finish.reason == "abort":
            return "client sees the router's end"
        assert heard.tokens == continuation(prompt, ANSWER_TOKENS), "a wrong token"
        told = heard.finish.kv.get("handover")
        if isinstance(told, dict):
            self.handed_tokens += told["tokens"]
        return "answer"

    def _drive(self, process: Process, heard: Collector, request_id: str = "") -> None:
        """Step an engine and its lane until the request has ended or the process is dead."""
        for _ in range(STEPS_MAX):
            if heard.is_finished or not process.is_alive:
                return
            process.engine.step()
            process.lane.run()
            self.clock.advance(0.01)
            if not self._is_router_alive and request_id:
                process.engine.abort(request_id)
