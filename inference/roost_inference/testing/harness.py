"""For tests: an engine on the toy backend that the test steps, a listener and a clock."""

import itertools
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from roost_inference.engine import Engine
from roost_inference.kv.block import BLOCK_TOKENS
from roost_inference.kv.handover.handover import NO_HANDOVER, HandoverSettings
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.lanes import InlineLane
from roost_inference.kv.tiers.tier import Tier
from roost_inference.request import (
    EngineSession,
    Event,
    FinishEvent,
    ModelInfo,
    Request,
    SamplingParams,
    TextEvent,
    TokenLogprob,
)
from roost_inference.scheduling.cost import Measurement, StepCost
from roost_inference.scheduling.drafts import NO_SPECULATION
from roost_inference.speculation.drafter import Drafter
from roost_inference.speculation.grammar_drafter import GrammarDrafter
from roost_inference.speculation.speculator import Speculator
from roost_inference.speculation.suffix_drafter import SuffixDrafter
from roost_inference.testing.toy import SIZE, ToyBackend

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GREEDY = SamplingParams(temperature=0.0)

Clock = Callable[[], float]

_ids = itertools.count(1)


@dataclass
class FakeClock:
    """A clock that only the test advances."""

    now: float = 0.0

    def __call__(self) -> float:
        """The time now, in seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@dataclass
class Collector:
    """A listener that keeps all events; `wait` is for an engine on its own thread."""

    events: list[Event] = field(default_factory=list)
    _finished: threading.Event = field(default_factory=threading.Event)
    _started: threading.Event = field(default_factory=threading.Event)

    def __call__(self, event: Event) -> None:
        """Take an event."""
        self.events.append(event)
        if isinstance(event, FinishEvent):
            self._finished.set()
        self._started.set()

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(event.text for event in self.events if isinstance(event, TextEvent))

    @property
    def tokens(self) -> list[int]:
        """All tokens so far."""
        return [t for event in self.events if isinstance(event, TextEvent) for t in event.tokens]

    @property
    def logprobs(self) -> list[TokenLogprob]:
        """All logprobs so far."""
        return [p for event in self.events if isinstance(event, TextEvent) for p in event.logprobs]

    @property
    def finish(self) -> FinishEvent:
        """The last event; fails the test if the request has not ended, or twice."""
        ends = [event for event in self.events if isinstance(event, FinishEvent)]
        assert len(ends) == 1, f"{len(ends)} finish events"
        assert self.events[-1] is ends[0], "an event after the finish event"
        return ends[0]

    @property
    def is_finished(self) -> bool:
        """Whether the last event has come."""
        return self._finished.is_set()

    def wait_started(self, timeout_s: float = 60.0) -> None:
        """Wait for the first event; AssertionError if none comes in time."""
        assert self._started.wait(timeout_s), "nothing came"

    def wait(self, timeout_s: float = 60.0) -> FinishEvent:
        """Wait for the last event; AssertionError if it does not come in time."""
        assert self._finished.wait(timeout_s), "the request did not end"
        return self.finish


def request(
    prompt: str | Sequence[int],
    max_tokens: int = 16,
    **fields: object,
) -> Request:
    """A greedy request over a toy prompt, with a fresh id. fields: those of Request, and those of
    its EngineSession."""
    tokens = tuple(prompt.encode()) if isinstance(prompt, str) else tuple(prompt)
    own = {name: fields.pop(name) for name in ("session_id", "cache_salt") if name in fields}
    session = EngineSession(**own)  # type: ignore[arg-type]
    base = Request(f"request-{next(_ids)}", tokens, max_tokens, GREEDY, session=session)
    return replace(base, **fields)  # type: ignore[arg-type]


def random_request(rng: random.Random, priorities: Sequence[int] = (0,)) -> tuple[str, Request]:
    """A prompt that shares its beginning with others, and a request over it: of three tenants, six
    sessions, two salts, and one of these priorities."""
    prompt = f"tenant{rng.randrange(3)} " * rng.randint(1, 12) + str(rng.randrange(9))
    max_tokens, session_id = rng.randint(1, 60), f"s{rng.randrange(6)}"
    cache_salt = f"t{rng.randrange(2)}"
    priority = rng.choice(priorities) if len(priorities) > 1 else priorities[0]
    fields = {"session_id": session_id, "cache_salt": cache_salt, "priority": priority}
    return prompt, request(prompt, max_tokens, **fields)


def toy_engine(
    backend: ToyBackend | None = None,
    *,
    max_running: int = 8,
    batch_tokens: int = 64,
    resident_cells: int | None = None,
    queue_limit: int = 100,
    context_length: int | None = None,
    clock: Clock | None = None,
    store: BlockStore | None = None,
    speculator: Speculator | None = None,
    cost: StepCost | None = None,
    handover: HandoverSettings = NO_HANDOVER,
) -> Engine:
    """An engine without a thread: call `step` until it returns False. Its steps cost what the
    speculator thinks, if there is one, unless `cost` says otherwise."""
    backend = backend or ToyBackend()
    model = ModelInfo(
        name="toy",
        path="",
        context_length=context_length or backend.cells,
        vocabulary_size=backend.vocabulary.size,
        chat_template=CHATML,
        bos="",
        eos="<end>",
        build="toy",
    )
    return Engine(
        backend,
        model,
        max_sequences=backend.sequences,
        max_running=min(max_running, backend.sequences),
        batch_tokens=batch_tokens,
        resident_cells=backend.cells // 2 if resident_cells is None else resident_cells,
        queue_limit=queue_limit,
        cost=cost or (StepCost() if speculator is None else speculator.cost),
        store=store,
        clock=clock or FakeClock(),
        speculation=speculator or NO_SPECULATION,
        handover=handover,
    )


TOY_BLOCK_BYTES = (3 + BLOCK_TOKENS) * 8


def toy_store(
    *tiers: Tier, blocks: int = 64, identity: str = "toy", clock: Clock | None = None
) -> BlockStore:
    """A store whose RAM holds this many whole toy blocks; the caller does all work at once."""
    store = BlockStore(
        identity,
        blocks * TOY_BLOCK_BYTES,
        tiers,
        clock=clock or FakeClock(),
        lane=lambda name: InlineLane(),
    )
    store.start()
    return store


def toy_speculator(
    *drafters: Drafter, depth_max: int = 16, cost: StepCost | None = None
) -> Speculator:
    """Without drafters: the two that need no model. Rows are cheap unless `cost` says otherwise,
    so whatever is likely at all is verified."""
    cost = cost or StepCost([Measurement(1, 0, 10.0), Measurement(64, 0, 10.5)])
    chosen = drafters or (GrammarDrafter(), SuffixDrafter(4096))
    return Speculator(chosen, cost, depth_max=depth_max, vocabulary_size=SIZE)


def drive(engine: Engine, steps_max: int = 10_000) -> int:
    """Step until there is nothing left to do, checking invariants after each; returns steps."""
    for count in range(steps_max):
        progressed = engine.step()
        engine.check()
        if not progressed and not engine.has_work:
            return count
    raise AssertionError(f"the engine was not done after {steps_max} steps")
