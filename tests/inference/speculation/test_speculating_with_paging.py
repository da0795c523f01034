"""Guessing ahead while KV is paged out and in: the same texts, the same blocks, nothing leaks."""

import random
from collections.abc import Sequence as Many
from functools import partial
from pathlib import Path

import pytest

from roost_inference.batch import Batch
from roost_inference.engine import Engine
from roost_inference.kv.block import identity_digest
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.disk import DiskTier
from roost_inference.request import KvPolicy
from roost_inference.sequence import Sequence
from roost_inference.speculation.drafter import Proposal
from roost_inference.speculation.speculator import Speculator
from roost_inference.testing.harness import (
    Collector,
    FakeClock,
    drive,
    request,
    toy_engine,
    toy_speculator,
    toy_store,
)
from roost_inference.testing.toy import ToyBackend, continuation, next_token


class Guesser:
    """Knows what the toy will say, `rightness` of the time."""

    name = "guesser"

    def __init__(self, rightness: float, seed: int = 0) -> None:
        self.rightness = rightness
        self.rng = random.Random(seed)

    def prior(self, slot: int) -> float:
        return 0.9

    def cost_ms(self, sequences: int, depth: int) -> float:
        return 0.0

    def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
        return [self._propose(sequence, depth) for sequence in sequences]

    def _propose(self, sequence: Sequence, depth: int) -> Proposal:
        tokens = sequence.tokens.view.tolist()
        for _ in range(depth):
            right = self.rng.random() < self.rightness
            tokens.append(next_token(tokens) if right else self.rng.randrange(256))
        return Proposal(tokens[len(sequence.tokens) :])

    def forget(self, sequence: Sequence, *, finished: bool) -> None:
        pass

    def close(self) -> None:
        pass


def expected(prompt: str, count: int) -> list[int]:
    """What the toy says, the end included where it comes before `count`."""
    return continuation(list(prompt.encode()), count)


def stored(engine: Engine) -> list[bytes]:
    """The key of every block: a digest of the model and all tokens up to the block's end."""
    assert engine.store is not None
    return sorted(engine.store._index.nodes)


def small(store: BlockStore, speculator: Speculator | None) -> Engine:
    return toy_engine(ToyBackend(cells=900), resident_cells=0, store=store, speculator=speculator)


@pytest.mark.parametrize("rightness", [0.0, 0.7, 1.0])
def test_the_blocks_stored_are_those_stored_without_drafts(rightness: float) -> None:
    blocks, cached = [], []
    for speculator in (None, toy_speculator(Guesser(rightness))):
        engine, texts = small(toy_store(blocks=200), speculator), dict.fromkeys("abc", "")
        found = []
        for turn in range(9):
            session = "abc"[turn % 3]
            prompt = texts[session] + f"session {session}, turn {turn}: " + "words " * 20
            heard = Collector()
            engine.submit(request(prompt, 40, session_id=session), heard)
            drive(engine)
            texts[session] = prompt + heard.text
            found.append((heard.finish.usage.cached_tokens, heard.finish.kv.get("loaded_tokens")))
        blocks.append(stored(engine))
        cached.append(found)
    assert blocks[0] == blocks[1] and len(blocks[0]) > 3
    assert cached[0] == cached[1] and sum(count for count, _ in cached[0]) > 500


def test_a_speculating_sequence_that_was_preempted_goes_on_where_it_was() -> None:
    backend = ToyBackend(cells=600, sequences=8)
    engine = toy_engine(
        backend,
        max_running=3,
        resident_cells=0,
        store=toy_store(blocks=200),
        speculator=toy_speculator(Guesser(0.8)),
    )
    heard = {f"prompt number {i} " * 8: Collector() for i in range(3)}
    for prompt, listener in heard.items():
        engine.submit(request(prompt, 200, ignore_eos=True), listener)
    drive(engine)
    assert engine.preemptions_total > 0
    for listener in heard.values():
        assert listener.finish.usage.completion_tokens == 200
        figures = listener.finish.speculation
        assert figures is not None and figures.accepted_tokens > 50


def _abort(engine: Engine, victim: str, batch: Batch) -> None:
    engine.abort(victim)


@pytest.mark.parametrize("seed", range(8))
def test_a_random_day_of_drafts_and_small_tiers_serves_only_right_cells(
    seed: int, tmp_path: Path
) -> None:
    """Every import on the toy checks the whole prefix, so a rejected guess that was stored would
    show, in the text at the latest."""
    rng, clock = random.Random(seed), FakeClock()
    tier = DiskTier(tmp_path, identity_digest("toy"), rng.choice((20, 60)) * 1500, free_bytes_min=0)
    store = toy_store(tier, blocks=rng.choice((4, 20)), clock=clock)
    backend = ToyBackend(cells=rng.choice((500, 1200)), sequences=8)
    engine = toy_engine(
        backend,
        max_running=4,
        batch_tokens=96,
        resident_cells=200,
        clock=clock,
        store=store,
        speculator=toy_speculator(Guesser(rng.random(), seed), depth_max=12),
    )

    def passes(batch: Batch) -> None:
        clock.advance(0.01)

    texts: dict[str, str] = {}
    live: dict[str, tuple[str, str, int, Collector]] = {}
    done = loaded = accepted = 0
    for _ in range(600):
        backend.on_decode = passes
        if rng.random() < 0.3 and len(live) < 8:
            session = f"s{rng.randrange(9)}"
            text = texts.get(session, "system prompt " * 9)[:300]
            text += "".join(rng.choices("abc ", k=rng.randint(1, 60)))
            wanted = request(
                text,
                rng.randint(1, 60),
                session_id=session,
                kv=KvPolicy(max_load_tokens=rng.choice((None, None, 150))),
            )
            heard = Collector()
            engine.submit(wanted, heard)
            live[wanted.id] = (session, text, wanted.max_tokens, heard)
        if live and rng.random() < 0.05:
            victim = rng.choice(list(live))
            # half of the time in the middle of a step, which is then taken back
            if rng.random() < 0.5:
                engine.abort(victim)
            else:
                backend.on_decode = partial(_abort, engine, victim)
        engine.step()
        engine.check()
        for name in [name for name, entry in live.items() if entry[3].is_finished]:
            session, text, count, heard = live.pop(name)
            full = bytes(token for token in expected(text, count) if token < 256).decode()
            assert full.startswith(heard.text), "somebody else's cells, or a guess kept"
            assert heard.finish.reason == "abort" or heard.text == full
            texts[session] = text + heard.text
            done += 1
            loaded += int(str(heard.finish.kv.get("loaded_tokens", 0)))
            figures = heard.finish.speculation
            accepted += figures.accepted_tokens if figures is not None else 0
    drive(engine)
    assert done > 40 and loaded > 0 and accepted > 0
    assert store.pinned() == 0
    engine.close()
