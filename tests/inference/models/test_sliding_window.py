"""A model whose layers see a window of tokens keeps sessions as exactly as any other model."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.inference.models.conftest import StartEngine, WriteModel

from roost_inference.backend import DecodeStatus
from roost_inference.batch import Batch
from roost_inference.engine import Engine
from roost_inference.errors import EngineFailed, EngineUnavailable
from roost_inference.kv.block import BLOCK_TOKENS
from roost_inference.llama.backend import LlamaBackend
from roost_inference.testing.harness import Collector, request

WINDOW = 128
# Another order of sums moves logits by a hundredth; a missing token moved them by 1.45.
NEAR = 0.05
RANDOM = np.random.default_rng(7)
TEXTS = [RANDOM.integers(3, 259, 900).tolist() for _ in range(3)]


def kernels(path: Path, **fields: int) -> LlamaBackend:
    sizes = {"cells": 1024, "sequences": 6, **fields}
    return LlamaBackend(path, batch_tokens=256, outputs=64, threads=1, kv_type="f16", **sizes)


@pytest.fixture
def backend(write_model: WriteModel) -> Iterator[LlamaBackend]:
    made = kernels(write_model("gemma3", window=WINDOW))
    yield made
    made.close()


def read(backend: LlamaBackend, sequence: int, tokens: list[int], at: int) -> NDArray[np.float32]:
    """Compute tokens, and return the logits behind the last one."""
    row = 0
    for start in range(0, len(tokens), 200):
        batch = Batch(256)
        piece = tokens[start : start + 200]
        row = batch.add(piece, at + start, sequence, output=True)
        assert backend.decode(batch) is DecodeStatus.DONE
    return backend.logits(row).copy()


def clear(backend: LlamaBackend) -> None:
    for sequence in range(backend.sequences):
        assert backend.sequence_remove(sequence, 0)


def expected(backend: LlamaBackend, tokens: list[int]) -> NDArray[np.float32]:
    """The logits behind these tokens, computed in an empty cache."""
    clear(backend)
    logits = read(backend, 0, tokens, 0)
    clear(backend)
    return logits


def distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).max())


def crowd(backend: LlamaBackend) -> None:
    """Sequences 0 and 2 with a gap between them that a third one does not fit into: llama.cpp
    looks for cells whose tokens nobody sees."""
    clear(backend)
    read(backend, 0, TEXTS[0][:300], 0)
    read(backend, 1, TEXTS[1][:250], 0)
    read(backend, 2, TEXTS[0][:300], 0)
    assert backend.sequence_remove(1, 0)
    read(backend, 3, TEXTS[2][:350], 0)


def test_a_block_goes_out_and_in_with_the_same_logits(backend: LlamaBackend) -> None:
    tokens = TEXTS[0][:640]
    assert backend.pages and backend.kind.window == WINDOW
    want = expected(backend, [*tokens, 42])
    read(backend, 0, tokens, 0)
    blocks = [
        backend.export_block(0, at, at + BLOCK_TOKENS) for at in range(0, len(tokens), BLOCK_TOKENS)
    ]
    clear(backend)
    for block in blocks:
        assert backend.import_block(0, block)
    assert distance(read(backend, 0, [42], len(tokens)), want) < NEAR
    assert len({block.nbytes for block in blocks}) == 1, "every block holds all of its tokens"


def test_a_fork_in_a_crowded_cache_sees_all_tokens_of_its_window(backend: LlamaBackend) -> None:
    want = expected(backend, [*TEXTS[0][:100], 42])
    crowd(backend)
    backend.sequence_copy(2, 4, 0, 100)
    assert distance(read(backend, 4, [42], 100), want) < NEAR


def test_a_rollback_in_a_crowded_cache_sees_all_tokens_of_its_window(
    backend: LlamaBackend,
) -> None:
    want = expected(backend, [*TEXTS[0][:150], 42])
    crowd(backend)
    assert backend.sequence_remove(2, 150)
    assert distance(read(backend, 2, [42], 150), want) < NEAR


def test_a_block_from_a_crowded_cache_holds_all_of_its_tokens(backend: LlamaBackend) -> None:
    want = expected(backend, [*TEXTS[0][:BLOCK_TOKENS], 42])
    crowd(backend)
    block = backend.export_block(2, 0, BLOCK_TOKENS)
    clear(backend)
    assert backend.import_block(0, block)
    assert distance(read(backend, 0, [42], BLOCK_TOKENS), want) < NEAR


def test_a_piece_longer_than_the_window_is_never_exported_with_a_hole(
    backend: LlamaBackend,
) -> None:
    read(backend, 0, TEXTS[0][:300], 0)
    with pytest.raises(EngineFailed, match="At most 128 tokens"):
        backend.export_block(0, 0, 200)


def test_an_interrupted_step_leaves_the_cache_as_it_was(backend: LlamaBackend) -> None:
    want = expected(backend, [*TEXTS[0][:300], 42])
    read(backend, 0, TEXTS[0][:300], 0)
    backend.interrupt()
    batch = Batch(256)
    batch.add(TEXTS[1][:200], 300, 0, output=True)
    assert backend.decode(batch) is DecodeStatus.ABORTED
    backend.clear_interrupt()
    backend.sequence_remove(0, 300)
    assert distance(read(backend, 0, [42], 300), want) < NEAR


def test_prompts_longer_than_the_window_move_between_contexts(write_model: WriteModel) -> None:
    backend = kernels(write_model("gemma3", window=WINDOW), prefill_cells=1024)
    try:
        want = expected(backend, [*TEXTS[0][:700], 42])
        read(backend, 0, TEXTS[0][:700], 0)
        read(backend, 1, TEXTS[1][:100], 0)  # moves the first prompt to the main context
        assert distance(read(backend, 0, [42], 700), want) < NEAR
    finally:
        backend.close()


def test_a_window_smaller_than_a_block_is_served_without_paging(
    write_model: WriteModel, start: StartEngine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        engine = start(write_model("gemma3", window=64))
    assert engine.store is None and not engine.model.kind.pages
    assert "served without paging" in caplog.text
    assert len(ask(engine, TEXTS[0][:300]).tokens) == 16


def test_more_sequences_than_there_are_ids_for_are_refused(write_model: WriteModel) -> None:
    with pytest.raises(EngineUnavailable, match="max_sequences to 127 at most"):
        kernels(write_model("gemma3"), sequences=128)


# The whole engine


def ask(engine: Engine, tokens: list[int], count: int = 16, **fields: object) -> Collector:
    heard = Collector()
    engine.submit(request(tokens, count, ignore_eos=True, **fields), heard)
    heard.wait()
    return heard


def settle(engine: Engine) -> None:
    deadline = time.monotonic() + 30
    while engine.has_tasks and time.monotonic() < deadline:
        time.sleep(0.01)
    engine.check()


@pytest.mark.parametrize("speculation", ["off", "auto"])
def test_a_restart_finds_the_session_and_goes_on_the_same(
    write_model: WriteModel, start: StartEngine, speculation: str
) -> None:
    model = write_model("gemma3", window=WINDOW)
    prompt = TEXTS[0][:600]
    engine = start(model, speculation=speculation)
    first = ask(engine, prompt, session_id="s")
    settle(engine)
    engine.close()
    again = [*prompt, *first.tokens, *TEXTS[1][:40]]
    loaded = ask(start(model, speculation=speculation), again, session_id="s")
    assert loaded.finish.usage.cached_tokens >= 512
    assert loaded.finish.kv["loaded_from"] == {"disk": loaded.finish.usage.cached_tokens}
    computed = ask(start(model, speculation="off", kv_ram=0), again)
    assert loaded.tokens == computed.tokens


def test_sessions_beyond_the_cells_are_answered_as_if_they_were_alone(
    write_model: WriteModel, start: StartEngine
) -> None:
    model = write_model("gemma3", window=WINDOW)
    engine, alone = start(model, context_length=1024), start(model, kv_ram=0)
    for turn in range(2):
        for number, text in enumerate(TEXTS):
            tokens = text[: 350 + 40 * turn]
            heard = ask(engine, tokens, session_id=str(number))
            settle(engine)
            if turn:
                assert heard.finish.usage.cached_tokens >= 256
            assert heard.tokens == ask(alone, tokens).tokens
