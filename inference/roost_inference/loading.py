"""Starts an engine from settings: finds the model, loads it, measures it, starts the thread."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from roost_inference.config import EngineConfig
from roost_inference.embeddings.service import EmbeddingService
from roost_inference.engine import Engine
from roost_inference.errors import EngineUnavailable
from roost_inference.kv.handover.handover import HandoverSettings
from roost_inference.kv.handover.transports import PeerAccess
from roost_inference.kv.opening import open_block_store
from roost_inference.kv.store import BlockStore
from roost_inference.llama import bindings
from roost_inference.llama.backend import LlamaBackend
from roost_inference.llama.embedder import LlamaEmbedder
from roost_inference.llama.machine import physical_cores
from roost_inference.llama.quantize import bundled_model, requantised
from roost_inference.prompt.families.table import markup_parts
from roost_inference.request import ModelInfo
from roost_inference.scheduling.cost import StepCost
from roost_inference.scheduling.drafts import Speculation
from roost_inference.scheduling.measurement import measured_cost
from roost_inference.speculation.building import build_speculation
from roost_inference.speculation.speculator import DRAFT_ROWS_MAX

BUNDLED_NAME = "smollm2-135m-instruct"
# Cells that idle sessions keep on the device where paging is on, unless a setting says otherwise.
RESIDENT_CELLS_MAX = 1024
# The engine thread computes and, while it waits for its helpers, spins. So its processor time is
# what a step takes, without what other programs take meanwhile. A GPU leaves the thread idle.
STEP_CLOCK = time.monotonic if bindings.computes_on_gpu() else time.thread_time

log = logging.getLogger(__name__)


def load_engine(config: EngineConfig, data_dir: Path) -> Engine:
    """Load the configured model and start its engine; blocks for as long as that takes.

    The first start with the bundled model writes a faster copy to data_dir/models. Raises
    EngineUnavailable with the reason if the model can't be loaded or the memory is too small.

    It loads on a thread that ends. libgomp keeps a team of compute threads for every thread that
    has ever computed. Once there are more of them than cores, they sleep instead of spinning while
    they wait for each other, and the engine loses a third of its speed.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="loading") as loader:
        engine = loader.submit(_load, config, data_dir).result()
    engine.start()
    return engine


def _load(config: EngineConfig, data_dir: Path) -> Engine:
    started = time.monotonic()
    _check_kernels(config)
    threads = config.threads or physical_cores()
    path = _model_path(config, data_dir, threads)
    outputs = config.max_sequences + (DRAFT_ROWS_MAX if config.speculation != "off" else 0)
    backend = LlamaBackend(
        path,
        cells=config.context_length,
        sequences=config.max_sequences,
        batch_tokens=config.batch_tokens,
        outputs=outputs,
        threads=threads,
        kv_type=config.kv_type,
        prefill_cells=_prefill_cells(config),
        streams=config.max_running,
        stream_memory=_stream_memory(config),
    )
    store = None
    try:
        store = open_block_store(config, backend, data_dir / "kv")
        backend.vocabulary.grammar_tokenizer()
        cost = measured_cost(
            backend, rows_max=config.batch_tokens, outputs_max=outputs, clock=STEP_CLOCK
        )
        speculation = build_speculation(
            config, backend, cost, threads=threads, step_clock=STEP_CLOCK, store=store
        )
        engine = _build(config, backend, store, cost, speculation)
    except BaseException:
        if store is not None:
            store.close()
        backend.close()
        raise
    if backend.kind.restriction:
        log.warning("%s: %s", engine.model.name, backend.kind.restriction)
    log.info("%s is ready after %.2f s", engine.model.name, time.monotonic() - started)
    return engine


def open_embeddings(config: EngineConfig) -> EmbeddingService | None:
    """The service of the configured embedding model, None without one. Raises EngineUnavailable
    with the reason if it can't be loaded."""
    if config.embedding_model is None:
        return None
    path = _existing(config.embedding_model)
    embedder = LlamaEmbedder(path, context_length=config.embedding_context_length)
    log.info("%s makes vectors of %d numbers", embedder.name, embedder.dimensions)
    return EmbeddingService(embedder)


def _check_kernels(config: EngineConfig) -> None:
    """Say which kernels run. Raises EngineUnavailable if the settings ask for others: one process
    loads one build."""
    name, reason = bindings.kernels()
    if config.kernels not in ("auto", name):
        raise EngineUnavailable(
            f"This process has loaded {name} kernels, not {config.kernels} ones"
        )
    log.info("%s kernels: %s%s", name, bindings.build_id(), f" ({reason})" if reason else "")


def _model_path(config: EngineConfig, data_dir: Path, threads: int) -> Path:
    """The path of the configured GGUF, or of the fast copy of the bundled one."""
    if config.model is None:
        return requantised(bundled_model(), data_dir / "models", threads)
    return _existing(config.model)


def _existing(path: Path) -> Path:
    path = path.expanduser()
    if not path.is_file():
        raise EngineUnavailable(f"The model {path} does not exist or is not a file")
    return path


def _prefill_cells(config: EngineConfig) -> int:
    """Cells of the context that prompts are read in, 0 for none."""
    if config.prefill_length is not None:
        return config.prefill_length
    # A GPU skips masked cells at no cost, so prompts need no context of their own.
    longest = config.request_context_length or config.context_length
    return 0 if bindings.computes_on_gpu() else longest


def _stream_memory(config: EngineConfig) -> int | None:
    """Bytes of KV for answers alone; None for what the machine suggests."""
    if config.stream_memory is None and bindings.computes_on_gpu():
        return 0  # it skips masked cells at no cost
    return config.stream_memory


def _build(
    config: EngineConfig,
    backend: LlamaBackend,
    store: BlockStore | None,
    cost: StepCost,
    speculation: Speculation,
) -> Engine:
    resident = config.resident_cells
    if resident is None and store is None:
        resident = backend.cells // 2
    elif resident is None:
        # To load a session takes milliseconds; its idle cells slow every step of the others.
        resident = min(backend.cells // 8, RESIDENT_CELLS_MAX)
    return Engine(
        backend,
        _describe(config, backend),
        max_sequences=config.max_sequences,
        max_running=config.max_running,
        batch_tokens=config.batch_tokens,
        resident_cells=resident,
        queue_limit=config.queue_limit,
        cost=cost,
        inter_token_target_ms=config.inter_token_target_ms,
        store=store,
        step_clock=STEP_CLOCK,
        speculation=speculation,
        handover=HandoverSettings(
            config.role,
            config.handover_lease_s,
            access=PeerAccess(config.api_key.get_secret_value(), frozenset(config.handover_peers)),
        ),
    )


def _describe(config: EngineConfig, backend: LlamaBackend) -> ModelInfo:
    vocabulary, template = backend.vocabulary, chat_template_of(config, backend.chat_template)
    vocabulary.show(markup_parts(template))
    bos, eos = vocabulary.bos_eos
    limits = [backend.trained_context, backend.cells]
    if config.request_context_length is not None:
        limits.append(config.request_context_length)
    default = BUNDLED_NAME if config.model is None else config.model.stem
    kernels, reason = bindings.kernels()
    return ModelInfo(
        name=config.model_name or default,
        path=str(backend.path),
        context_length=min(limits),
        vocabulary_size=vocabulary.size,
        chat_template=template,
        bos=vocabulary.special_text(bos),
        eos=vocabulary.special_text(eos),
        adds_bos=vocabulary.adds_bos,
        build=bindings.build_id(),
        kind=backend.kind,
        kernels=kernels,
        kernels_reason=reason,
        quantisation=backend.quantisation,
    )


def chat_template_of(config: EngineConfig, own: str) -> str:
    """The template of the settings, or the model's own. Raises EngineUnavailable."""
    if config.chat_template is None:
        return own
    path = config.chat_template.expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise EngineUnavailable(f"The chat template can't be read, {path}: {error}") from error
