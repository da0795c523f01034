"""A model that comes quantised is loaded as it is: llama.cpp repacks Q4_K as well as Q4_0."""

from pathlib import Path

from tests.inference.models.conftest import StartEngine, WriteModel

from roost_inference.engine import Engine
from roost_inference.llama import bindings
from roost_inference.llama.quantize import requantised
from roost_inference.testing.harness import Collector, request

PROMPT = [3 + byte for byte in b"Which of the seven hills is the highest? " * 5]


def ask(engine: Engine, count: int = 8) -> Collector:
    heard = Collector()
    engine.submit(request(PROMPT, count, ignore_eos=True), heard)
    heard.wait()
    return heard


def test_a_q4_k_model_is_served_as_it_is(
    write_model: WriteModel, start: StartEngine, tmp_path: Path
) -> None:
    plain = write_model("llama", layers=2, embedding=256, feed_forward=256, heads=4)
    quantised = tmp_path / "small.Q4_K_M.gguf"
    bindings.quantize(plain, quantised, 1, bindings.FILE_TYPE_Q4_K_M)
    before = quantised.stat()
    assert before.st_size < plain.stat().st_size / 3
    engine = start(quantised)
    assert engine.model.path == str(quantised)
    assert not (tmp_path / "data" / "models").exists(), "nothing was written anew"
    assert quantised.stat().st_mtime_ns == before.st_mtime_ns
    assert len(ask(engine).tokens) == 8


def test_only_the_bundled_model_is_requantised_and_a_q4_0_file_is_not(
    write_model: WriteModel, tmp_path: Path
) -> None:
    plain = write_model("llama", layers=2, embedding=256, feed_forward=256, heads=4)
    q4_0 = tmp_path / "small.Q4_0.gguf"
    bindings.quantize(plain, q4_0, 1)
    assert requantised(q4_0, tmp_path / "models", 1) == q4_0
    assert requantised(plain, tmp_path / "models", 1) != plain
