"""Paging on llama.cpp's kernels: bit for bit, over restarts, with more sessions than cells."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from roost_inference.backend import DecodeStatus
from roost_inference.batch import Batch
from roost_inference.config import EngineConfig
from roost_inference.engine import Engine
from roost_inference.kv.block import BLOCK_TOKENS
from roost_inference.llama.backend import LlamaBackend
from roost_inference.llama.quantize import bundled_model, requantised
from roost_inference.loading import load_engine
from roost_inference.request import EngineSession
from roost_inference.testing.harness import Collector, request

TEXT = (
    "<|im_start|>system\nYou are a guide to the city of Lisbon. The city lies on seven hills at "
    "the mouth of the Tagus. Trams climb the old streets of Alfama, ferries cross to Cacilhas, and "
    "the castle looks down on it all. Give short answers in plain words, never make up an address, "
    "and say so if you do not know.<|im_end|>\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kv")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return requantised(bundled_model(), folder / "models", 2)


def backend(model: Path, kv_type: str = "f16", cells: int = 2048) -> LlamaBackend:
    return LlamaBackend(
        model, cells=cells, sequences=4, batch_tokens=512, outputs=192, threads=1, kv_type=kv_type
    )


@pytest.fixture(scope="module")
def kernels(model: Path) -> Iterator[LlamaBackend]:
    loaded = backend(model)
    yield loaded
    loaded.close()


def decode(kernels: LlamaBackend, sequence: int, tokens: list[int], at: int) -> NDArray[np.float32]:
    batch = Batch(512)
    row = batch.add(tokens, at, sequence, output=True)
    assert kernels.decode(batch) is DecodeStatus.DONE
    return kernels.logits(row).copy()


def empty(kernels: LlamaBackend) -> None:
    for sequence in range(kernels.sequences):
        kernels.sequence_remove(sequence, 0)


def test_a_round_trip_of_blocks_gives_bit_identical_logits(kernels: LlamaBackend) -> None:
    tokens = kernels.vocabulary.tokenize(TEXT * 6)[:400]
    decode(kernels, 0, tokens, 0)
    before = decode(kernels, 0, [42], 400)
    kernels.sequence_remove(0, 400)
    blocks = [kernels.export_block(0, at, min(at + 128, 400)) for at in range(0, 400, 128)]
    empty(kernels)
    for block in blocks:
        assert kernels.import_block(0, block)
    assert kernels.sequence_end(0) == 400
    assert np.array_equal(decode(kernels, 0, [42], 400), before)
    empty(kernels)


def test_blocks_go_into_scattered_cells_as_well(kernels: LlamaBackend) -> None:
    tokens = kernels.vocabulary.tokenize(TEXT * 4)[:256]
    decode(kernels, 0, tokens, 0)
    before = decode(kernels, 0, [42], 256)
    kernels.sequence_remove(0, 256)
    blocks = [kernels.export_block(0, 0, 128), kernels.export_block(0, 128, 256)]
    empty(kernels)
    batch = Batch(512)
    for turn in range(24):
        for sequence in (1, 2):
            batch.add(tokens[:9], turn * 9, sequence, output=False)
    assert kernels.decode(batch) is DecodeStatus.DONE
    kernels.sequence_remove(1, 0)
    assert all(kernels.import_block(0, block) for block in blocks)
    after = decode(kernels, 0, [42], 256)
    # other cells, another order of sums
    assert after.argmax() == before.argmax()
    assert np.corrcoef(after, before)[0, 1] > 0.999
    empty(kernels)


def test_a_block_is_never_attached_where_it_does_not_belong(kernels: LlamaBackend) -> None:
    tokens = kernels.vocabulary.tokenize(TEXT * 4)[:256]
    decode(kernels, 0, tokens, 0)
    second = kernels.export_block(0, 128, 256)
    assert not kernels.import_block(1, second), "a hole at its start"
    assert not kernels.import_block(0, second), "twice"
    assert not kernels.import_block(1, second[:-1000].copy())
    assert not kernels.import_block(1, np.zeros(5000, np.uint8))
    assert kernels.sequence_end(1) == 0 and kernels.sequence_end(0) == 256
    empty(kernels)


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    values = logits.astype(np.float64) - float(logits.max())
    result: NDArray[np.float64] = values - np.log(np.exp(values).sum())
    return result


def all_logits(kernels: LlamaBackend, tokens: list[int]) -> list[NDArray[np.float64]]:
    batch = Batch(512)
    batch.add(tokens, 0, 0, output=True)
    batch.outputs[: len(tokens)] = 1
    assert kernels.decode(batch) is DecodeStatus.DONE
    return [log_softmax(kernels.logits(row)) for row in range(len(tokens))]


def test_q8_0_kv_is_close_to_f16_and_its_blocks_are_its_own(
    model: Path, kernels: LlamaBackend
) -> None:
    tokens = kernels.vocabulary.tokenize(TEXT * 2)[:192]
    divergence = {}
    for kv_type in ("q8_0", "q4_0"):
        small = backend(model, kv_type)
        total = 0.0
        same = 0
        try:
            for exact, other in zip(
                all_logits(kernels, tokens), all_logits(small, tokens), strict=True
            ):
                total += float((np.exp(exact) * (exact - other)).sum())
                same += int(exact.argmax() == other.argmax())
            assert small.identity != kernels.identity and kv_type in small.identity
            block = small.export_block(0, 0, 128)
            whole = kernels.export_block(0, 0, 128)
            assert block.nbytes < 0.56 * whole.nbytes
            empty(small)
            assert small.import_block(0, block)
            empty(small)
            assert not small.import_block(0, whole), "another number format"
        finally:
            empty(kernels)
            small.close()
        divergence[kv_type] = (total / len(tokens), same / len(tokens))
        kl = divergence[kv_type][0]
        print(f"KL({kv_type} against f16) = {kl:.4f}, same {same} of {len(tokens)}")
    assert divergence["q8_0"][0] < 0.02 and divergence["q8_0"][1] > 0.95
    assert divergence["q8_0"][0] < divergence["q4_0"][0]


def test_q4_0_needs_an_explicit_switch() -> None:
    with pytest.raises(ValueError, match="kv_q4_0_accepted"):
        EngineConfig(kv_type="q4_0")
    assert EngineConfig(kv_type="q4_0", kv_q4_0_accepted=True).kv_type == "q4_0"


# The whole engine


def start(folder: Path, **fields: object) -> Engine:
    sizes = {"context_length": 4096, "max_sequences": 24, "max_running": 8, "threads": 1}
    fields = {"speculation": "off", **sizes, **fields}
    return load_engine(EngineConfig(**fields), folder)


def ask(engine: Engine, tokens: list[int], count: int = 24, **fields: object) -> Collector:
    heard = Collector()
    wanted = request(tokens, count, **fields)
    engine.submit(wanted, heard)
    heard.wait()
    return heard


def settle(engine: Engine) -> None:
    """Wait until what is idle is stored."""
    deadline = time.monotonic() + 20
    while engine.has_tasks and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not engine.has_tasks


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_a_restart_finds_the_session_on_disk_and_goes_on_the_same(
    folder: Path, kv_type: str
) -> None:
    place = folder / kv_type
    (place / "models").mkdir(parents=True)
    for path in (folder / "models").iterdir():
        (place / "models" / path.name).hardlink_to(path)
    engine = start(place, kv_type=kv_type)
    prompt = engine.tokenize(TEXT * 4 + "<|im_start|>user\nName a hill.<|im_end|>\n")
    first = ask(engine, prompt, session_id="lisbon")
    again = prompt + first.tokens + engine.tokenize("<|im_end|>\n<|im_start|>user\nAnother?")
    engine.close()
    engine = start(place, kv_type=kv_type)
    loaded = ask(engine, again, session_id="lisbon")
    engine.close()
    usage, report = loaded.finish.usage, loaded.finish.kv
    assert usage.cached_tokens >= len(prompt) + len(first.tokens) - 17
    assert report["decision"] == "load" and report["loaded_from"] == {"disk": usage.cached_tokens}
    engine = start(place, kv_type=kv_type, kv_ram=0)
    computed = ask(engine, again)
    engine.close()
    assert computed.finish.usage.cached_tokens == 0
    assert loaded.tokens == computed.tokens


def test_more_sessions_than_cells_are_remembered_in_ram(folder: Path) -> None:
    engine = start(folder, context_length=1024, kv_disk=0)
    system = engine.tokenize(TEXT * 4)
    texts = {n: system + engine.tokenize(f"Session {n}. " * 30) for n in range(6)}
    prompt_tokens = cached = 0
    for turn in range(3):
        for n in texts:
            heard = ask(engine, texts[n], 8, session_id=str(n), ignore_eos=True)
            if turn:
                prompt_tokens += len(texts[n])
                cached += heard.finish.usage.cached_tokens
            texts[n] = texts[n] + heard.tokens + engine.tokenize(f" And then {turn}?")
            engine_sound(engine)
    assert sum(map(len, texts.values())) > 2 * 1024
    assert cached / prompt_tokens > 0.93
    engine.close()


def engine_sound(engine: Engine) -> None:
    settle(engine)
    engine.check()


def test_pins_prefetch_offload_and_close(folder: Path) -> None:
    engine = start(folder, kv_disk=2**28)
    control, session = engine.session_control, EngineSession("p", "t")
    prompt = engine.tokenize("Pins. " + TEXT * 3)
    ask(engine, prompt, session_id="p", cache_salt="t")
    settle(engine)
    (known,) = [s for s in control.listing() if s["id"] == "p"]
    assert known["cells"] >= len(prompt) and known["stored_tokens"]["ram"] >= BLOCK_TOKENS
    control.pin(session, "tool", 60.0)
    assert control.listing()[-1]["pin"]["reason"] == "tool"
    control.pin(session, "approval", 60.0)
    assert control.listing()[-1]["cells"] == 0, "an approval takes long: its cells are given back"
    assert ask(engine, prompt, session_id="p", cache_salt="t").finish.usage.cached_tokens > 0
    control.pin(session, "user", 0.01)
    ask(engine, prompt, session_id="p", cache_salt="t")
    time.sleep(0.02)
    assert control.listing()[-1]["pin"] is None
    assert control.offload(session)["cells_freed"] > 0
    store = engine.store
    assert store is not None and store.flush()
    engine.close()
    engine = start(folder, kv_disk=2**28)
    done = engine.session_control.prefetch(session)
    assert done["fetching"] > 0
    deadline = time.monotonic() + 5
    while engine.store.usage()["ram"][1] < done["blocks"] and time.monotonic() < deadline:  # type: ignore[union-attr]
        time.sleep(0.01)
    heard = ask(engine, prompt, session_id="p", cache_salt="t")
    assert set(heard.finish.kv["loaded_from"]) == {"ram"}  # type: ignore[call-overload]
    assert json.dumps(heard.finish.kv)
    assert engine.session_control.close(session)["closed"]
    assert not [s for s in engine.session_control.listing() if s["id"] == "p"]
    engine.close()
