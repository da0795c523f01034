"""From settings to a speculator: its drafters, and the cost curve measured."""

import logging
import time

from roost_inference.backend import Backend
from roost_inference.config import EngineConfig
from roost_inference.errors import EngineUnavailable
from roost_inference.llama import bindings
from roost_inference.llama.backend import LlamaBackend
from roost_inference.speculation.cost import CostCurve
from roost_inference.speculation.drafter import Drafter
from roost_inference.speculation.grammar_drafter import GrammarDrafter
from roost_inference.speculation.measurement import measure
from roost_inference.speculation.model_drafter import CATCH_UP_TOKENS, ModelDrafter
from roost_inference.speculation.speculator import Speculator
from roost_inference.speculation.suffix_drafter import SuffixDrafter

# The engine thread computes and, while it waits for its helpers, spins; so its processor time is
# what a step takes, without what other programs take meanwhile. A GPU leaves it idle.
STEP_CLOCK = time.monotonic if bindings.computes_on_gpu() else time.thread_time

log = logging.getLogger(__name__)


def build_speculator(
    config: EngineConfig, backend: LlamaBackend, threads: int
) -> Speculator | None:
    """The speculator that the settings ask for; None where it is off, or where the model can't
    take tokens back. Raises EngineUnavailable if the draft model does not do."""
    if config.speculation == "off":
        return None
    if not backend.truncates:
        log.info("speculation is off: this model's state can't be rolled back")
        return None
    drafters: list[Drafter] = [GrammarDrafter(), SuffixDrafter(config.speculation_corpus_tokens)]
    if config.draft_model is not None:
        drafters.append(_model_drafter(config, backend, threads))
    return Speculator(
        drafters,
        _measured(backend, config.batch_tokens),
        depth_max=config.speculation_depth_max,
        vocabulary_size=backend.vocabulary.size,
        clock=STEP_CLOCK,
    )


def _measured(backend: Backend, rows_max: int) -> CostCurve:
    cost = CostCurve()
    cost.load(measure(backend, rows_max=rows_max, clock=STEP_CLOCK))
    return cost


def _model_drafter(config: EngineConfig, target: LlamaBackend, threads: int) -> ModelDrafter:
    assert config.draft_model is not None
    path = config.draft_model.expanduser()
    if not path.is_file():
        raise EngineUnavailable(f"The draft model {path} does not exist or is not a file")
    backend = LlamaBackend(
        path,
        cells=config.context_length,
        sequences=config.max_running,
        batch_tokens=max(CATCH_UP_TOKENS, config.max_running),
        outputs=max(32, config.max_running),
        threads=threads,
        kv_type=config.kv_type,
    )
    try:
        check_vocabulary(target, backend)
        return ModelDrafter(backend, _measured(backend, 32), clock=STEP_CLOCK)
    except BaseException:
        backend.close()
        raise


def check_vocabulary(target: LlamaBackend, draft: LlamaBackend) -> None:
    """Raise EngineUnavailable unless both models mean the same by every token."""
    ours, theirs = target.vocabulary, draft.vocabulary
    name = draft.path.name
    if ours.size != theirs.size:
        raise EngineUnavailable(
            f"The draft model {name} has another vocabulary: {theirs.size} tokens, "
            f"{ours.size} are needed. Choose a draft model of the same family."
        )
    for token in range(ours.size):
        if ours.special_text(token) != theirs.special_text(token):
            raise EngineUnavailable(
                f"The draft model {name} has another vocabulary: token {token} is "
                f"{theirs.special_text(token)!r}, {ours.special_text(token)!r} is needed. "
                "Choose a draft model of the same family."
            )
    if ours.end_tokens != theirs.end_tokens:
        raise EngineUnavailable(f"The draft model {name} ends its answers with other tokens")
    if not draft.truncates:
        raise EngineUnavailable(f"The draft model {name} has a state that can't be rolled back")
