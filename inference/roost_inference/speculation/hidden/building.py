"""Builds a drafter that reads hidden states from settings, and measures what it costs here."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from roost_inference.backend import DecodeStatus, Features
from roost_inference.batch import Batch
from roost_inference.config import EngineConfig
from roost_inference.errors import EngineFailed
from roost_inference.kv.paging_protocol import NO_COMPANION, Companion
from roost_inference.kv.store import BlockStore
from roost_inference.llama import bindings
from roost_inference.llama.backend import LlamaBackend, identity_of
from roost_inference.llama.drafting import (
    DraftContext,
    LlamaTaps,
    PairContext,
    drafter_context,
    target_facts,
)
from roost_inference.llama.vocabulary import check_vocabulary
from roost_inference.models.drafts import FEATURE_ARCHITECTURES, architecture_of
from roost_inference.scheduling.cost import Measurement, StepCost
from roost_inference.speculation.hidden.drafter import HiddenDrafter
from roost_inference.speculation.hidden.feature_drafter import FeatureDrafter, HiddenCosts
from roost_inference.speculation.hidden.library import DraftCompanion, DraftLibrary
from roost_inference.speculation.hidden.tokenwise import DEPTH_MAX, TokenwiseDrafter

# Rows of a batch of the drafter. Blocks are never longer than the controller's drafts.
ROWS = 128
# Sequences followed, for each that runs: ended ones are kept for the next turn of their session.
IDS_PER_RUNNING = 2
BLOCK_ROWS = (2, 4, 8, 16, 32, 64)
INJECTED_ROWS = (1, 64)
ROUNDS = 4

Clock = Callable[[], float]
log = logging.getLogger(__name__)


def reads_hidden_states(path: Path) -> bool:
    """Whether the draft file is a drafter for hidden states. Raises EngineUnavailable."""
    return architecture_of(path) in FEATURE_ARCHITECTURES


def build_hidden_drafter(
    config: EngineConfig, target: LlamaBackend, path: Path, *, threads: int, clock: Clock
) -> HiddenDrafter | TokenwiseDrafter | None:
    """The drafter; None, and a line in the log, where this build of llama.cpp does not have what it
    needs. Raises EngineUnavailable if the file is no good for the target."""
    if not bindings.reads_features():
        log.warning("The drafter %s is not used: it needs functions that are not in this build of "
                    "llama.cpp (%s)", path.name, bindings.build_id())  # fmt: skip
        return None
    ids = min(IDS_PER_RUNNING * config.max_running, 255)
    network = drafter_context(path)(
        path,
        target,
        cells=config.context_length + ROWS,
        sequences=ids,
        rows=ROWS,
        outputs=ROWS,
        threads=threads,
        kv_type=config.kv_type,
    )
    try:
        check_vocabulary(target.vocabulary, network.vocabulary, path.name)
        taps = LlamaTaps(target, network.facts.taps, target_facts(target).width)
        costs = measured_costs(network, taps, target, clock)
        if isinstance(network, PairContext):
            return TokenwiseDrafter(network, taps, costs, depth_max=DEPTH_MAX, clock=clock)
        return HiddenDrafter(network, taps, costs, depth_max=network.facts.block - 1, clock=clock)
    except BaseException:
        network.close()
        raise


def companion_of(
    config: EngineConfig, drafter: FeatureDrafter[Any], store: BlockStore
) -> Companion:
    """Lets the drafter keep its cells in the store; nothing is kept of one whose cells can't be cut
    into blocks."""
    assert config.draft_model is not None
    if not drafter.can_export:
        return NO_COMPANION
    path = config.draft_model.expanduser()
    library = DraftLibrary(store, identity_of(path, config.kv_type))
    drafter.library = library
    return DraftCompanion(library, drafter)


def measured_costs(
    network: DraftContext | PairContext, taps: LlamaTaps, target: LlamaBackend, clock: Clock
) -> HiddenCosts:
    """What the drafter costs here, by some runs with dummy tokens. Target and network are empty
    before and afterwards."""
    injection = _injection(network, taps.width, clock)
    return HiddenCosts(_block_cost(network, clock), *injection, _tap_ms(target, taps, clock))


def _least(run: Callable[[], None], after: Callable[[], object], clock: Clock) -> float:
    """The least time of several runs, in milliseconds; `after` takes each back."""
    times: list[float] = []
    for _ in range(ROUNDS):
        started = clock()
        run()
        times.append((clock() - started) * 1000)
        after()
    return min(times)


def _block_cost(network: DraftContext | PairContext, clock: Clock) -> StepCost:
    """What a block costs by its rows; the logits of each are a part of that."""
    measured: list[Measurement] = []
    for rows in BLOCK_ROWS:
        run = partial(_compute, network, rows)
        ms = _least(run, partial(network.remove, 0, 0), clock)
        measured.append(Measurement(rows, 0, ms))
    return StepCost(measured)


def _injection(
    network: DraftContext | PairContext, width: int, clock: Clock
) -> tuple[float, float]:
    """Milliseconds of giving features to the network: each time, and each row."""
    costs: list[float] = []
    for rows in INJECTED_ROWS:
        run = partial(_inject, network, np.ones((rows, width), np.float32))
        costs.append(_least(run, partial(network.remove, 0, 0), clock))
    row_ms = max(costs[1] - costs[0], 0.0) / (INJECTED_ROWS[1] - INJECTED_ROWS[0])
    return max(costs[0] - row_ms, 0.0), row_ms


def _compute(network: DraftContext | PairContext, rows: int) -> None:
    """One batch of guesses with dummy tokens."""
    ids, positions = np.zeros(rows, np.int32), np.arange(rows, dtype=np.int32)
    if isinstance(network, PairContext):
        network.go_on(ids, positions, ids, np.ones((rows, network.width), np.float32))
    else:
        network.compute(ids, positions, np.full(rows, network.mask, np.int32))


def _inject(network: DraftContext | PairContext, features: Features) -> None:
    """Give features of dummy tokens to the network."""
    ids, positions = np.zeros(len(features), np.int32), np.arange(len(features), dtype=np.int32)
    if isinstance(network, PairContext):
        network.append(ids, positions, ids, features)
    else:
        network.inject(ids, positions, features)


def _tap_ms(target: LlamaBackend, taps: LlamaTaps, clock: Clock) -> float:
    """What it costs a step of one row to keep hidden states."""
    batch = Batch(1)
    batch.add([1], 0, 0, output=True)
    rows = np.zeros(1, np.intp)

    def step() -> None:
        if target.decode(batch) is not DecodeStatus.DONE:
            raise EngineFailed("The kernels did not compute a step while costs were measured")

    def step_and_read() -> None:
        step()
        taps.features(rows)

    costs: list[float] = []
    for on, run in ((False, step), (True, step_and_read)):
        taps.switch(on=on)
        run()  # the first step prepares the buffers
        target.sequence_remove(0, 0)
        costs.append(_least(run, partial(target.sequence_remove, 0, 0), clock))
    taps.switch(on=False)
    return max(costs[1] - costs[0], 0.0)
