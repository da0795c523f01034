"""Speculation on the real kernels: the same greedy texts, and draft models checked at load."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost_inference.benchmarking.equality import (
    conversations,
    converse,
    differences,
    near_tie,
)
from roost_inference.benchmarking.judge import Judge
from roost_inference.benchmarking.ruler import Ruler
from roost_inference.config import EngineConfig
from roost_inference.engine import Engine
from roost_inference.errors import EngineUnavailable
from roost_inference.loading import load_engine
from roost_inference.request import SamplingParams
from roost_inference.scheduling.cost import Measurement
from roost_inference.speculation.speculator import Speculator
from roost_inference.testing.harness import Collector, request

# A difference of log-probabilities that the order of sums can turn round.
NEAR_TIE = 0.05
# Of logits: below the largest change that other batches of the same text make.
NEAR_TIE_LOGITS = 0.3
SMALL = {"context_length": 2048, "max_sequences": 8, "max_running": 4, "threads": 1}


@pytest.fixture(scope="module")
def plain(model_folder: Path) -> Iterator[Engine]:
    loaded = load_engine(EngineConfig(speculation="off", kv_ram=0, **SMALL), model_folder)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def speculating(model_folder: Path) -> Iterator[Engine]:
    loaded = load_engine(EngineConfig(speculation="auto", kv_disk=0, **SMALL), model_folder)
    speculator = loaded._speculation
    assert isinstance(speculator, Speculator)
    # On a busy machine nothing might pay; here rows are cheap, so drafts are verified.
    speculator.cost.load([Measurement(1, 0, 10.0), Measurement(64, 0, 11.0)])
    speculator.cost.observe = lambda *_, **__: None  # type: ignore[method-assign]
    yield loaded
    loaded.close()


def ask(engine: Engine, question: str, count: int = 24, **fields: object) -> Collector:
    text = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    sampling = SamplingParams(temperature=0.0, top_logprobs=2)
    # a salt of its own: what lies in the cache beside it is then the same for both engines
    wanted = request(
        engine.tokenize(text),
        count,
        cache_salt=question,
        sampling=sampling,
        **fields,
    )
    heard = Collector()
    engine.submit(wanted, heard)
    heard.wait()
    return heard


def drafting(plain: Engine, draft_model: Path) -> EngineConfig:
    path = Path(plain.model.path)
    return EngineConfig(model=path, draft_model=draft_model, speculation="auto", **SMALL)


def first_gap(one: Collector, other: Collector) -> float | None:
    """How close the two likeliest tokens were where the answers part; None if they do not."""
    for mine, theirs, found in zip(one.tokens, other.tokens, one.logprobs, strict=False):
        if mine != theirs:
            return found.top[0].logprob - found.top[1].logprob
    return None


def test_greedy_answers_are_the_same_with_offload_and_drafts_but_for_near_ties(
    plain: Engine, speculating: Engine
) -> None:
    """Two turns each, the cells given back between them where there are tiers. The benchmark
    `equality` does this with 50 conversations, and each of the two alone."""
    path, asked = Path(plain.model.path), conversations(6)
    ruler = Ruler(path)
    off = [converse(plain, ruler, messages, then, 24, None) for messages, then in asked]
    on = [
        converse(speculating, ruler, messages, then, 24, one.text)
        for (messages, then), one in zip(asked, off, strict=True)
    ]
    judge = Judge(path, 1, 24)
    found = differences(judge, ruler, asked, off, on)
    # Row by row costs more than all the rest, most of it where prompts are long.
    measured = slice(1, 3)
    changes = near_tie(judge, ruler, asked[measured], off[measured])
    judge.close()
    print(f"{len(found)} of {2 * len(asked)} answers differ: {found}")
    assert all(difference.gap < NEAR_TIE_LOGITS for difference in found), found
    assert len(changes) == 2 * sum(len(answer) for one in off[measured] for answer in one.answers)
    assert 0.0 < changes[-1] < 2.0, "other batches change a little, and only a little"
    assert sum(one.loaded for one in on) > 100 and sum(one.accepted for one in on) > 0
    assert sum(one.loaded + one.accepted for one in off) == 0
    for engine in (plain, speculating):
        engine.check()


def test_a_grammar_s_own_text_is_drafted(speculating: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {"responsible_department": {"enum": ["sales", "support"]}},
        "required": ["responsible_department"],
        "additionalProperties": False,
        "x-guidance": {"whitespace_flexible": False},
    }
    grammar = json.dumps({"grammars": [{"json_schema": schema}]})
    heard = ask(speculating, "Whom should I write to?", 60, grammar=grammar)
    assert json.loads(heard.text)["responsible_department"] in ("sales", "support")


def test_the_costs_were_measured_at_the_start(plain: Engine, tmp_path: Path) -> None:
    config = EngineConfig(model=Path(plain.model.path), speculation="auto", **SMALL)
    engine = load_engine(config, tmp_path)
    speculator = engine._speculation
    assert isinstance(speculator, Speculator)
    one, many = speculator.cost.ms(1), speculator.cost.ms(16)
    engine.close()
    assert one > 0 and many > 0  # how they compare is for a benchmark on an idle machine


def test_a_draft_model_of_another_vocabulary_is_refused(plain: Engine, tmp_path: Path) -> None:
    model = Path(plain.model.path).read_bytes()
    old, new = "Ġthe".encode(), "Ġqzx".encode()
    length = len(old).to_bytes(8, "little")
    assert model.count(length + old) == 1
    other = tmp_path / "other.gguf"
    other.write_bytes(model.replace(length + old, length + new))
    config = drafting(plain, other)
    with pytest.raises(EngineUnavailable, match=r"other\.gguf has another vocabulary: token \d+"):
        load_engine(config, tmp_path)


def test_a_draft_model_that_is_missing_is_named(plain: Engine, tmp_path: Path) -> None:
    config = drafting(plain, tmp_path / "gone.gguf")
    with pytest.raises(EngineUnavailable, match=r"draft model .*gone\.gguf does not exist"):
        load_engine(config, tmp_path)


def test_an_engine_with_a_draft_model_says_the_same(plain: Engine, tmp_path: Path) -> None:
    engine = load_engine(drafting(plain, Path(plain.model.path)), tmp_path)
    question = "Name three colours, please."
    with_model, without = ask(engine, question), ask(plain, question)
    gap = first_gap(without, with_model)
    assert gap is None or gap < NEAR_TIE
    engine.check()
    engine.close()
