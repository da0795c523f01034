"""With a drafter that reads hidden states: the same texts, right guesses used, and refusals."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.inference.models.conftest import StartEngine

from roost_inference.engine import Engine
from roost_inference.errors import EngineUnavailable
from roost_inference.llama import bindings
from roost_inference.request import SamplingParams
from roost_inference.scheduling.cost import Measurement, StepCost
from roost_inference.speculation.acceptance import Acceptance
from roost_inference.speculation.hidden.drafter import HiddenDrafter
from roost_inference.speculation.hidden.feature_drafter import HiddenCosts
from roost_inference.speculation.hidden.tokenwise import TokenwiseDrafter
from roost_inference.speculation.rest import Rest
from roost_inference.speculation.speculator import Speculator
from roost_inference.testing.harness import Collector, request
from roost_inference.testing.tiny_drafts import TinyDraft, write_tiny_draft
from roost_inference.testing.tiny_gguf import TinyShape, write_tiny
from roost_inference.testing.tokenwise.tiny_eagle import TinyEagle, write_tiny_eagle

SHAPE = TinyShape(layers=3)
WIDE = TinyShape(layers=1, kv_heads=2, seed=3)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "target.gguf", "llama", SHAPE)


def copier(path: Path) -> Path:
    """A drafter that guesses the token that was most often in the text: keys are all alike, values
    are the embeddings, and what comes of both is the answer."""
    n = SHAPE.embedding
    one, none = np.eye(n, dtype=np.float32), np.zeros((n, n), np.float32)
    wide = np.zeros((SHAPE.feed_forward, n), np.float32)
    ones = np.ones(n, np.float32)
    tensors = {
        "fc.weight": np.concatenate([one, none], 1),
        "enc.output_norm.weight": ones,
        "output_norm.weight": ones,
        "blk.0.attn_norm.weight": ones,
        "blk.0.attn_q.weight": none,
        "blk.0.attn_k.weight": none,
        "blk.0.attn_v.weight": one,
        "blk.0.attn_output.weight": 100 * one,
        "blk.0.ffn_gate.weight": wide,
        "blk.0.ffn_up.weight": wide,
        "blk.0.ffn_down.weight": wide.T.copy(),
    }
    return write_tiny_draft(path, TinyDraft(WIDE, taps=(0, 2), causal=True), tensors=tensors)


def repeater(path: Path) -> Path:
    """A drafter of the kind EAGLE-3 that guesses the token before the last one: its state is the
    embedding of that one, and nothing is added."""
    n = SHAPE.embedding
    one, none = np.eye(n, dtype=np.float32), np.zeros((n, n), np.float32)
    tensors = {
        "fc.weight": np.concatenate([one, none, none], 1),
        "output_norm.weight": np.ones(n, np.float32),
        "blk.0.attn_output.weight": none,
        "blk.0.ffn_down.weight": np.zeros((n, SHAPE.feed_forward), np.float32),
    }
    return write_tiny_eagle(path, tensors=tensors)


def eager(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> HiddenDrafter | TokenwiseDrafter:
    """Let the engine's drafter be used in every step, whatever it costs and has guessed."""
    speculator = engine._speculation
    assert isinstance(speculator, Speculator)
    speculator.cost.load([Measurement(1, 0, 10.0), Measurement(64, 0, 11.0)])
    monkeypatch.setattr(speculator.cost, "observe", lambda *_, **__: None)
    monkeypatch.setattr(Acceptance, "learn", lambda *_: None)
    drafter = speculator._panel.costly[0]
    assert isinstance(drafter, HiddenDrafter | TokenwiseDrafter)
    speculator._panel.free.clear()
    drafter._costs = HiddenCosts(StepCost([Measurement(2, 0, 0.1), Measurement(64, 0, 0.2)]))
    return drafter


def answers(engine: Engine, **fields: object) -> list[Collector]:
    """Texts alone and beside others, some of a session whose second turn goes on."""
    heard: list[Collector] = []
    for number in range(3):
        for turn in range(2):
            text = f"<|im_start|>user {number}" + " and more" * turn
            heard.append(Collector())
            wanted = request(
                engine.tokenize(text), 40, ignore_eos=True, session_id=f"s{number}", **fields
            )
            engine.submit(wanted, heard[-1])
            heard[-1].wait()
    beside = [Collector() for _ in range(4)]
    for number, one in enumerate(beside):
        tokens = engine.tokenize(f"{number} of four " * (3 + 4 * number))
        engine.submit(request(tokens, 40, ignore_eos=True, **fields), one)
    for one in beside:
        one.wait()
    engine.check()
    return heard + beside


def accepted(engine: Engine) -> tuple[int, int]:
    figures = engine.stats().speculation["hidden"]
    return figures.accepted_tokens, figures.draft_tokens


RANDOM = {
    "a block": lambda path: write_tiny_draft(path, TinyDraft(causal=False, taps=(2, 1))),
    "a causal block": lambda path: write_tiny_draft(path, TinyDraft(causal=True, taps=(2, 1))),
    "token by token": lambda path: write_tiny_eagle(path, TinyEagle(taps=(2, 0, 1))),
    "a small head": lambda path: write_tiny_eagle(path, TinyEagle(head_tokens=50)),
}


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize("streams", [0, 2**21])
def test_wrong_guesses_of_a_random_network_change_no_text(
    model: Path,
    tmp_path: Path,
    start: StartEngine,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    streams: int,
) -> None:
    draft = RANDOM[kind](tmp_path / "draft.gguf")
    plain = answers(start(model, speculation="off", stream_memory=streams))
    engine = start(model, speculation="auto", draft_model=draft, stream_memory=streams)
    eager(engine, monkeypatch)
    assert [one.tokens for one in answers(engine)] == [one.tokens for one in plain]
    right, drafted = accepted(engine)
    assert drafted > 200 and right < 0.2 * drafted


@pytest.mark.parametrize("write", [copier, repeater])
@pytest.mark.parametrize("streams", [0, 2**21])
def test_right_guesses_are_used_and_change_no_text(
    model: Path,
    tmp_path: Path,
    start: StartEngine,
    monkeypatch: pytest.MonkeyPatch,
    streams: int,
    write: Callable[[Path], Path],
) -> None:
    """One of two answers repeats a token, which the drafter guesses once the text is full of it."""
    bias = SamplingParams(temperature=0.0, logit_bias={70: 60.0})
    plain = start(model, speculation="off", stream_memory=streams)
    expected = [one.tokens for one in [*answers(plain), *answers(plain, sampling=bias)]]
    draft = write(tmp_path / "draft.gguf")
    engine = start(model, speculation="auto", draft_model=draft, stream_memory=streams)
    eager(engine, monkeypatch)
    heard = [*answers(engine), *answers(engine, sampling=bias)]
    assert [one.tokens for one in heard] == expected
    right, drafted = accepted(engine)
    assert right > 50 and right < drafted


@pytest.mark.parametrize("kind", ["a block", "token by token"])
def test_after_a_restart_the_drafter_knows_a_session_from_its_beginning(
    model: Path, tmp_path: Path, start: StartEngine, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    draft = RANDOM[kind](tmp_path / "draft.gguf")
    monkeypatch.setattr(Rest, "note", lambda *_, **__: None)
    told: list[int] = []
    begins: list[tuple[int, bool]] = []
    for turn in range(2):
        engine = start(model, draft_model=draft, speculation="auto", kv_disk=2**26, kv_ram=2**26)
        drafter, heard = eager(engine, monkeypatch), Collector()
        told += engine.tokenize(
            f"turn {turn} of a conversation that is long enough for blocks " * 8
        )
        engine.submit(request(told, 40, ignore_eos=True, session_id="s"), heard)
        heard.wait()
        told += heard.tokens
        (text,) = (*drafter._following._running.values(), *drafter._following._ended.values())
        begins.append((text.held.begin, heard.finish.usage.cached_tokens > 300))
        engine.close()
    assert begins == [(0, False), (0, True)], "it knows the text from its beginning"


def test_a_drafter_for_another_model_ends_the_start_with_a_reason(
    model: Path, tmp_path: Path, start: StartEngine
) -> None:
    other = write_tiny_draft(tmp_path / "draft.gguf", TinyDraft(taps=(0, 3)))
    with pytest.raises(EngineUnavailable, match="reads layer 3 of its target, 0 to 2"):
        start(model, draft_model=other, speculation="auto")
    markers = TinyShape(layers=1, markers=("<|im_start|>", "<|end|>"))
    foreign = write_tiny_draft(tmp_path / "foreign.gguf", TinyDraft(markers))
    with pytest.raises(EngineUnavailable, match=r"foreign.gguf has another vocabulary: token"):
        start(model, draft_model=foreign, speculation="auto")
    deep = write_tiny_eagle(tmp_path / "deep.gguf", header={"eagle3.block_count": 2})
    with pytest.raises(EngineUnavailable, match="more than the one layer of EAGLE-3"):
        start(model, draft_model=deep, speculation="auto")
    with pytest.raises(EngineUnavailable, match="of the architecture gemma3 can't be read"):
        start(
            write_tiny(tmp_path / "gemma.gguf", "gemma3", SHAPE),
            draft_model=write_tiny_draft(tmp_path / "fits.gguf"),
            speculation="auto",
        )


def test_kernels_that_lack_the_functions_run_without_the_drafter(
    model: Path,
    tmp_path: Path,
    start: StartEngine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(bindings, "reads_features", lambda: False)
    with caplog.at_level(logging.WARNING):
        engine = start(model, draft_model=write_tiny_draft(tmp_path / "d.gguf"), speculation="auto")
    assert "functions that are not in this build of llama.cpp" in caplog.text
    assert answers(engine) and "hidden" not in engine.stats().speculation
