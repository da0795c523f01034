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
from roost_inference.llama.drafting import DraftContext, LlamaTaps, target_facts
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
    network = DraftContext(
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
        if network.facts.architecture != "dflash":
            raise EngineUnavailable(f"{path.name} is no drafter that guesses blocks")
        check_vocabulary(target.vocabulary, network.vocabulary, path.name)
        taps = LlamaTaps(target, network.facts.taps, target_facts(target).width)
        steps = measured_cost(target, rows_max=ROWS, outputs_max=ROWS, clock=time.thread_time)
        costs = measured_costs(network, taps, target, time.thread_time)
        writer = Writer(target, taps, temperature=0.0)
        asked = prompts(Ruler(target.path), count, held_out=True)
        depth = min(network.facts.block - 1, DEPTH_MAX)
        right, places = hits(network, writer.write(asked, answer), depth)
    finally:
        network.close()
    survivals = right / max(places, 1)
    return DraftMeasurement(tuple(_depths(survivals.tolist(), steps, costs)), places)


def hits(
    network: DraftContext, texts: Iterable[Text], depth: int
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], int]:
    """How often the first guess, the first two, … are what follows in the texts, and at how many
    places."""
    right, places = np.zeros(depth, np.int64), 0
    ids = np.zeros(depth + 1, np.int32)
    for text in texts:
        network.remove(0, 0)
        given = 0
        for at in range(text.prompt_length, len(text.tokens) - depth):
            positions = np.arange(given, at, dtype=np.int32)
            network.inject(
                np.zeros(len(positions), np.int32),
                positions,
                text.features[given:at].astype(np.float32),
            )
            given = at
            block = np.full(depth + 1, network.mask, np.int32)
            block[0] = text.tokens[at]
            network.compute(ids, np.arange(at, at + depth + 1, dtype=np.int32), block)
            guesses = [int(network.logits(row).argmax()) for row in range(1, depth + 1)]
            network.remove(0, at)
            same = text.tokens[at + 1 : at + depth + 1] == guesses
            right += np.cumprod(same)
            places += 1
    network.remove(0, 0)
    return right, places


def _depths(survivals: list[float], steps: StepCost, costs: HiddenCosts) -> Iterable[Depth]:
    plain = steps.busy_ms(1)
    for depth in range(1, len(survivals) + 1):
        tokens = 1.0 + sum(survivals[:depth])
        rows = depth + 1
        block = costs.block.busy_ms(rows) + costs.inject_ms + tokens * costs.inject_row_ms
        spent = steps.busy_ms(rows, outputs=rows) + block + costs.tap_ms
        yield Depth(depth, survivals[depth - 1], tokens, block / plain, tokens * plain / spent)
