"""Builds speculation from settings: the drafters, and the draft model if there is one."""

import logging
from collections.abc import Callable
from pathlib import Path

from roost_inference.config import EngineConfig
from roost_inference.errors import EngineUnavailable
from roost_inference.kv.paging_protocol import NO_COMPANION
from roost_inference.kv.store import BlockStore
from roost_inference.llama.backend import LlamaBackend
from roost_inference.llama.vocabulary import check_vocabulary
from roost_inference.scheduling.cost import StepCost
from roost_inference.scheduling.drafts import NO_SPECULATION, Speculation
from roost_inference.scheduling.measurement import measured_cost
from roost_inference.speculation.drafter import Drafter
from roost_inference.speculation.grammar_drafter import GrammarDrafter
from roost_inference.speculation.hidden.building import (
    build_hidden_drafter,
    companion_of,
    reads_hidden_states,
)
from roost_inference.speculation.hidden.feature_drafter import FeatureDrafter
from roost_inference.speculation.model_drafter import CATCH_UP_TOKENS, ModelDrafter
from roost_inference.speculation.speculator import Speculator
from roost_inference.speculation.suffix_drafter import SuffixDrafter

# Rows of logits that a draft model needs, whatever number of sequences it may follow.
DRAFT_OUTPUTS_MIN = 32

log = logging.getLogger(__name__)


def build_speculation(
    config: EngineConfig,
    backend: LlamaBackend,
    cost: StepCost,
    *,
    threads: int,
    step_clock: Callable[[], float],
    store: BlockStore | None = None,
) -> Speculation:
    """The speculation that the settings ask for; none where it is off, or where the model can't
    take tokens back.

    cost: what the target's steps cost; step_clock: what a draft model's steps are timed with;
    store: where a drafter keeps its cells beside the blocks of the model's KV.
    Raises EngineUnavailable if the draft model can't be used.
    """
    if config.speculation == "off":
        return NO_SPECULATION
    if not backend.truncates:
        log.info("speculation is off: this model's state can't be rolled back")
        return NO_SPECULATION
    drafters: list[Drafter] = [GrammarDrafter(), SuffixDrafter(config.speculation_corpus_tokens)]
    companion = NO_COMPANION
    if config.draft_model is not None:
        drafters += _from_file(config, backend, threads, step_clock)
        if store is not None and isinstance(drafters[-1], FeatureDrafter):
            companion = companion_of(config, drafters[-1], store)
    return Speculator(
        drafters,
        cost,
        depth_max=config.speculation_depth_max,
        vocabulary_size=backend.vocabulary.size,
        companion=companion,
    )


def _from_file(
    config: EngineConfig, target: LlamaBackend, threads: int, clock: Callable[[], float]
) -> list[Drafter]:
    """The drafter that the settings name, of the kind that its file says; none where the kernels
    can't run it."""
    assert config.draft_model is not None
    path = config.draft_model.expanduser()
    if not path.is_file():
        raise EngineUnavailable(f"The draft model {path} does not exist or is not a file")
    if not reads_hidden_states(path):
        return [_model_drafter(config, target, path, threads, clock)]
    drafter = build_hidden_drafter(config, target, path, threads=threads, clock=clock)
    return [] if drafter is None else [drafter]


def _model_drafter(
    config: EngineConfig,
    target: LlamaBackend,
    path: Path,
    threads: int,
    clock: Callable[[], float],
) -> ModelDrafter:
    outputs = max(DRAFT_OUTPUTS_MIN, config.max_running)
    backend = LlamaBackend(
        path,
        cells=config.context_length,
        sequences=config.max_running,
        batch_tokens=max(CATCH_UP_TOKENS, config.max_running),
        outputs=outputs,
        threads=threads,
        kv_type=config.kv_type,
    )
    try:
        check_vocabulary(target.vocabulary, backend.vocabulary, path.name)
        if not backend.truncates:
            raise EngineUnavailable(
                f"The draft model {path.name} has a state that can't be rolled back"
            )
        cost = measured_cost(backend, rows_max=DRAFT_OUTPUTS_MIN, outputs_max=outputs, clock=clock)
        return ModelDrafter(backend, cost, clock=clock)
    except BaseException:
        backend.close()
        raise
