"""What a drafter is worth: how often it is right, what it costs, and the speed that follows."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roost_inference.benchmarking.ruler import Ruler
from roost_inference.config import EngineConfig
from roost_inference.distilling.texts import SIDE_BY_SIDE, Text, Writer, prompts
from roost_inference.errors import EngineUnavailable
from roost_inference.llama import bindings
from roost_inference.llama.backend import LlamaBackend
from roost_inference.llama.drafting import (
    DraftContext,
    LlamaTaps,
    PairContext,
    drafter_context,
    target_facts,
)
from roost_inference.llama.machine import physical_cores
from roost_inference.llama.vocabulary import check_vocabulary
from roost_inference.scheduling.cost import StepCost
from roost_inference.scheduling.measurement import measured_cost
from roost_inference.speculation.hidden.building import measured_costs
from roost_inference.speculation.hidden.feature_drafter import HiddenCosts

CELLS = 8192
PROMPTS = 8
ANSWER_TOKENS = 96
ROWS = 64
DEPTH_MAX = 8


@dataclass(frozen=True, slots=True)
class Depth:
    """Guesses of so many tokens: how often all of them are right, tokens of a step, what the block
    costs in steps without drafts, and the speed against those."""

    depth: int
    survival: float
    tokens_per_step: float
    block_in_steps: float
    speed: float


@dataclass(frozen=True, slots=True)
class DraftMeasurement:
    """By depth, and on how many places of texts it was measured."""

    depths: tuple[Depth, ...]
    places: int

    @property
    def best(self) -> Depth:
        """The depth of the highest speed."""
        return max(self.depths, key=lambda one: one.speed)

    @property
    def acceptance(self) -> tuple[float, ...]:
        """By position the share of right guesses, where those before were right."""
        shares, before = [], 1.0
        for one in self.depths:
            shares.append(one.survival / before if before else 0.0)
            before = one.survival
        return tuple(shares)


def open_target(path: Path, threads: int | None = None) -> LlamaBackend:
    """A model with cells for SIDE_BY_SIDE texts. Raises EngineUnavailable."""
    if not bindings.reads_features():
        raise EngineUnavailable(
            "This build of llama.cpp does not give hidden states out: " + bindings.build_id()
        )
    return LlamaBackend(
        path,
        cells=CELLS,
        sequences=SIDE_BY_SIDE,
        batch_tokens=512,
        outputs=ROWS,
        threads=threads or physical_cores(),
        kv_type=EngineConfig().kv_type,
    )


def measure_draft(
    target: LlamaBackend, path: Path, *, count: int = PROMPTS, answer: int = ANSWER_TOKENS
) -> DraftMeasurement:
    """Let the model write to `count` prompts that no drafter was made from, and the drafter guess
    at each place of them. Raises EngineUnavailable, EngineFailed."""
    network = drafter_context(path)(
        path,
        target,
        cells=1024,
        sequences=1,
        rows=128,
        outputs=ROWS,
        threads=physical_cores(),
        kv_type=EngineConfig().kv_type,
    )
    try:
        check_vocabulary(target.vocabulary, network.vocabulary, path.name)
        taps = LlamaTaps(target, network.facts.taps, target_facts(target).width)
        steps = measured_cost(target, rows_max=ROWS, outputs_max=ROWS, clock=time.thread_time)
        costs = measured_costs(network, taps, target, time.thread_time)
        writer = Writer(target, taps, temperature=0.0)
        asked = prompts(Ruler(target.path), count, held_out=True)
        is_block = isinstance(network, DraftContext)
        depth = min(network.facts.block - 1, DEPTH_MAX) if is_block else DEPTH_MAX
        right, places = hits(network, writer.write(asked, answer), depth)
    finally:
        network.close()
    survivals = right / max(places, 1)
    guess_ms = [_guess_ms(costs, each, is_block=is_block) for each in range(1, depth + 1)]
    return DraftMeasurement(tuple(_depths(survivals.tolist(), steps, costs, guess_ms)), places)


def hits(
    network: DraftContext | PairContext, texts: Iterable[Text], depth: int
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], int]:
    """How often the first guess, the first two, … are what follows in the texts, and at how many
    places."""
    right, places = np.zeros(depth, np.int64), 0
    guess = _guess_pairs if isinstance(network, PairContext) else _guess_block
    for text in texts:
        network.remove(0, 0)
        given = 0
        for at in range(text.prompt_length, len(text.tokens) - depth):
            guesses = guess(network, text, given, at, depth)  # type: ignore[arg-type]
            network.remove(0, at)
            given = at
            same = text.tokens[at + 1 : at + depth + 1] == guesses
            right += np.cumprod(same)
            places += 1
    network.remove(0, 0)
    return right, places


def _guess_block(network: DraftContext, text: Text, given: int, at: int, depth: int) -> list[int]:
    """What follows the token at this place; the network has the features of `given` tokens."""
    positions = np.arange(given, at, dtype=np.int32)
    network.inject(np.zeros_like(positions), positions, text.features[given:at].astype(np.float32))
    block = np.full(depth + 1, network.mask, np.int32)
    block[0] = text.tokens[at]
    places = np.arange(at, at + depth + 1, dtype=np.int32)
    network.compute(np.zeros_like(places), places, block)
    return [int(network.logits(row).argmax()) for row in range(1, depth + 1)]


def _guess_pairs(network: PairContext, text: Text, given: int, at: int, depth: int) -> list[int]:
    """The same, token by token."""
    positions = np.arange(given, at, dtype=np.int32)
    features = text.features[given:at].astype(np.float32)
    tokens = np.asarray(text.tokens[given + 1 : at + 1], np.int32)
    network.append(np.zeros_like(positions), positions, tokens, features)
    row, one = min(len(positions), network.rows) - 1, np.zeros(1, np.int32)
    guesses: list[int] = []
    for ahead in range(depth):
        guesses.append(int(network.logits(row).argmax()))
        if ahead + 1 < depth:
            state = network.states(row + 1)[-1:]
            network.go_on(one, one + at + ahead, np.array(guesses[-1:], np.int32), state)
            row = 0
    return guesses


def _guess_ms(costs: HiddenCosts, depth: int, *, is_block: bool) -> float:
    """What guesses of this depth cost, without the features that they begin with."""
    return costs.block.busy_ms(depth + 1) if is_block else (depth - 1) * costs.block.busy_ms(1)


def _depths(
    survivals: list[float], steps: StepCost, costs: HiddenCosts, guess_ms: list[float]
) -> Iterable[Depth]:
    plain = steps.busy_ms(1)
    for depth in range(1, len(survivals) + 1):
        tokens = 1.0 + sum(survivals[:depth])
        rows = depth + 1
        block = guess_ms[depth - 1] + costs.inject_ms + tokens * costs.inject_row_ms
        spent = steps.busy_ms(rows, outputs=rows) + block + costs.tap_ms
        yield Depth(depth, survivals[depth - 1], tokens, block / plain, tokens * plain / spent)
