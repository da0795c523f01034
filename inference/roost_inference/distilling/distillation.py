"""Makes a drafter for a model: texts of its own, training, a file, and a measurement.

The file is kept only if the drafter is worth it on this machine.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roost_inference.benchmarking.ruler import Ruler
from roost_inference.distilling.measurement import DraftMeasurement, measure_draft, open_target
from roost_inference.distilling.texts import (
    ANSWER_TOKENS,
    SIDE_BY_SIDE,
    TEMPERATURE,
    Text,
    TextStore,
    Writer,
    prompts,
)
from roost_inference.errors import EngineUnavailable
from roost_inference.llama import bindings
from roost_inference.llama.backend import LlamaBackend
from roost_inference.llama.drafting import LlamaTaps, target_embeddings, target_facts
from roost_inference.llama.machine import available_memory_bytes, physical_cores
from roost_inference.models.drafts import TAPPED
from roost_inference.models.header import Contents, raw_keys, read_contents
from roost_inference.models.writer import Tensor, write_gguf

# A drafter that makes answers less than so much faster is not worth its memory.
SPEED_MIN = 1.1
GUESSES = 4
HEAD_TOKENS = 8192
TOKENS_MIN, TOKENS_MAX = 2_000, 5_000_000
MINUTES_MAX = 24 * 60
# Of the time, the part in which texts are written at most.
WRITING_SHARE = 0.4
EMBEDDINGS_SHARE = 0.4

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Distilled:
    """What came of it: the measurement, and whether the file was kept."""

    measurement: DraftMeasurement
    is_kept: bool


def distil(
    model: Path, out: Path, *, tokens: int, minutes: float, tell: Tell, keep_always: bool = False
) -> Distilled:
    """Make a drafter for the model and keep it as `out`, if it is worth it.

    tokens: of texts, at most; minutes: for texts and training together, not for the measurement;
    tell: hears how far it is; keep_always: keep the file whatever it is worth. Raises
    EngineUnavailable, EngineFailed, OSError.
    """
    try:
        from roost_inference.distilling.network import DraftNetwork, Sizes
        from roost_inference.distilling.training import train
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            f"To distil a drafter takes PyTorch, and {error.name} is not installed: "
            "pip install 'roost[distill]'"
        ) from error
    if not TOKENS_MIN <= tokens <= TOKENS_MAX or not 0 < minutes <= MINUTES_MAX:
        raise EngineUnavailable(
            f"{TOKENS_MIN} to {TOKENS_MAX} tokens and up to {MINUTES_MAX} minutes are possible"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    contents, threads = read_contents(model), physical_cores()
    target = open_target(model)
    try:
        facts = target_facts(target)
        if facts.architecture not in TAPPED:
            raise EngineUnavailable(
                f"Hidden states of the architecture {facts.architecture} can't be read"
            )
        layers = taps_of(facts.layers)
        sizes = Sizes(**_sizes(contents, facts.architecture), taps=len(layers), guesses=GUESSES)
        _check_memory(facts.tokens * facts.width * 4)
        taps = LlamaTaps(target, layers, facts.width)
        with tempfile.TemporaryDirectory(prefix=".distilling-", dir=out.parent) as folder:
            store = TextStore(Path(folder), room=tokens, width=taps.width)
            seconds = _write_texts(target, taps, store, minutes * 60, tell)
            counts = store.counts(facts.tokens)
            head = np.sort(np.argsort(-counts, kind="stable")[:HEAD_TOKENS])
            embeddings, mask = target_embeddings(target), mask_of(target, counts)
            network = DraftNetwork(sizes, embeddings, head, mask)
            network.set(_norm_of(model, contents))
            train(network, store, seconds=seconds, threads=threads, tell=tell)
            del store
            plain, part = Path(folder) / "plain.gguf", Path(folder) / "draft.gguf"
            made: dict[str, Tensor] = {**network.tensors(), "output.weight": embeddings[head]}
            made["d2t"] = head.astype(np.int64)
            header = header_of(model, sizes, layers, mask)
            write_gguf(plain, header, made)
            bindings.quantize(plain, part, threads)
            tell("measuring it on prompts that it was not made from")
            measurement = measure_draft(target, part)
            is_kept = keep_always or measurement.best.speed >= SPEED_MIN
            if is_kept:
                with part.open("rb") as file:
                    os.fsync(file.fileno())
                part.replace(out)
        return Distilled(measurement, is_kept)
    finally:
        target.close()


def taps_of(layers: int) -> tuple[int, ...]:
    """Three layers whose inputs tell most: an early one, one of the middle, and the last."""
    return tuple(sorted({min(2, layers - 1), layers // 2, layers - 1}))


def mask_of(target: LlamaBackend, counts: np.ndarray[Any, np.dtype[np.int64]]) -> int:
    """A token that is never written: a control token if there is one."""
    vocabulary = target.vocabulary
    unused = np.flatnonzero(counts == 0)[::-1].tolist()
    taken = vocabulary.end_tokens | set(vocabulary.bos_eos)
    control = [t for t in unused if t not in taken and not vocabulary.token_bytes(t)]
    return int((control or unused or [0])[0])


def header_of(model: Path, sizes: Any, layers: tuple[int, ...], mask: int) -> dict[str, Any]:
    """The header of the drafter's file, with the target's vocabulary. sizes: a network's Sizes."""
    vocabulary = {
        key: value
        for key, value in raw_keys(model, "tokenizer.ggml.").items()
        if key != "tokenizer.ggml.mask_token_id"
    }
    return {
        "general.architecture": "dflash",
        "general.name": f"drafter for {model.stem}",
        "general.file_type": 0,
        "dflash.block_count": 1,
        "dflash.context_length": 8192,
        "dflash.embedding_length": sizes.width,
        "dflash.feed_forward_length": sizes.feed_forward,
        "dflash.attention.head_count": sizes.heads,
        "dflash.attention.head_count_kv": sizes.kv_heads,
        "dflash.attention.key_length": sizes.head,
        "dflash.attention.value_length": sizes.head,
        "dflash.attention.layer_norm_rms_epsilon": float(sizes.epsilon),
        "dflash.attention.causal": False,
        "dflash.rope.freq_base": float(sizes.rope_base),
        "dflash.block_size": sizes.guesses + 1,
        "dflash.target_layers": list(layers),
        **vocabulary,
        "tokenizer.ggml.mask_token_id": mask,
    }


def _write_texts(
    target: LlamaBackend, taps: LlamaTaps, store: TextStore, seconds: float, tell: Tell
) -> float:
    """Fill the store for a part of the time. Returns the seconds that are left for the training."""
    began = time.monotonic()
    ruler, writer = Ruler(target.path), Writer(target, taps, temperature=TEMPERATURE)

    def texts() -> Iterator[Text]:
        spent, rounds = 0.0, 0
        while rounds == 0 or spent < WRITING_SHARE * seconds:
            asked = prompts(ruler, SIDE_BY_SIDE, held_out=False, seed=2 * rounds)
            yield from writer.write(asked, ANSWER_TOKENS)
            spent, rounds = time.monotonic() - began, rounds + 1
            tell(f"{store.size} tokens written after {spent:.0f} s")

    store.fill(texts())
    if not len(store):
        raise EngineUnavailable("The model wrote nothing that could be learned from")
    tell(f"{store.size} tokens written in {len(store)} texts")
    return max(seconds - (time.monotonic() - began), (1 - WRITING_SHARE) * seconds)


def _sizes(contents: Contents, architecture: str) -> dict[str, Any]:
    values = contents.values

    def number(key: str, default: float | None = None) -> Any:
        value = values.get(f"{architecture}.{key}", default)
        if not isinstance(value, int | float):
            raise EngineUnavailable(f"The model does not say its {architecture}.{key}")
        return value

    width, heads = number("embedding_length"), number("attention.head_count")
    return {
        "width": width,
        "heads": heads,
        "kv_heads": number("attention.head_count_kv", heads),
        "head": number("attention.key_length", width // heads),
        "feed_forward": number("feed_forward_length"),
        "epsilon": number("attention.layer_norm_rms_epsilon", 1e-5),
        "rope_base": number("rope.freq_base", 10_000.0),
    }


def _norm_of(model: Path, contents: Contents) -> dict[str, Tensor]:
    """The target's own last norm, which suits its head; nothing if it can't be read."""
    info = contents.tensors.get("output_norm.weight")
    if info is None or info.kind != 0:
        return {}
    return {"output_norm.weight": np.fromfile(model, np.float32, info.sizes[0], offset=info.place)}


def _check_memory(needed: int) -> None:
    free = available_memory_bytes()
    if free is not None and needed > EMBEDDINGS_SHARE * free:
        raise EngineUnavailable(
            f"The model's embeddings need {needed / 2**30:.1f} GiB while it is trained, "
            f"{free / 2**30:.1f} GiB are free"
        )
