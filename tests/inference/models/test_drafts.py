"""A drafter that does not belong to its model ends the start with a reason, never the process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roost_inference.errors import EngineUnavailable
from roost_inference.models.drafts import TargetFacts, check_draft
from roost_inference.testing.tiny_drafts import TinyDraft, write_tiny_draft
from roost_inference.testing.tiny_gguf import TinyShape, write_tiny

SHAPE = TinyShape()
TARGET = TargetFacts("llama", layers=3, width=SHAPE.embedding, tokens=SHAPE.tokens)


def refusal(path: Path, target: TargetFacts = TARGET) -> str:
    with pytest.raises(EngineUnavailable) as caught:
        check_draft(path, target)
    return caught.value.message


def test_a_drafter_that_fits_says_what_it_reads(tmp_path: Path) -> None:
    draft = TinyDraft(taps=(2, 0), block=6, head_tokens=40)
    facts = check_draft(write_tiny_draft(tmp_path / "draft.gguf", draft), TARGET)
    assert (facts.architecture, facts.taps, facts.read) == ("dflash", (2, 0), 64)
    assert facts.block == 6 and not facts.is_causal


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"architecture": "qwen2"}, "of the architecture qwen2 can't be read"),
        ({"architecture": "phi3"}, "of the architecture phi3 can't be read"),
        ({"layers": 1}, "reads layer 1 of its target, 0 to 0 can be read"),
        ({"width": 128}, "hidden states of 64 numbers, those of the model have 128"),
        ({"tokens": 200}, "map|mask token|has the mask|numbers in"),
    ],
)
def test_a_target_that_it_was_not_made_for_is_refused(
    target: dict[str, Any], said: str, tmp_path: Path
) -> None:
    facts = {"architecture": "llama", "layers": 3, "width": 64, "tokens": SHAPE.tokens, **target}
    path = write_tiny_draft(tmp_path / "draft.gguf", TinyDraft(head_tokens=40, mask=250))
    import re

    assert re.search(said, refusal(path, TargetFacts(**facts)))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"dflash.target_layers": None}, "names no layers"),
        ({"dflash.target_layers": [1, 1]}, "or one twice"),
        ({"dflash.target_layers": [0, 3]}, "reads layer 3"),
        ({"dflash.target_layers": [-1, 0]}, "reads layer -1"),
        ({"dflash.target_layers": [0, 1, 2]}, "input of 128 x 64, 3 layers of 64 numbers need 192"),
        ({"dflash.embedding_length": 32}, "hidden states of 32 numbers"),
        ({"dflash.embedding_length": None}, "does not say its dflash.embedding_length"),
        ({"dflash.block_size": None}, "does not say its dflash.block_size"),
        ({"dflash.block_size": 1}, "blocks of 1 tokens"),
        ({"dflash.block_size": 100_000}, "blocks of 100000 tokens"),
        ({"tokenizer.ggml.mask_token_id": None}, "names no mask token"),
        ({"tokenizer.ggml.mask_token_id": 9999}, "has the mask token 9999"),
        ({"dflash.attention.value_length": 16}, "keys and values of different sizes"),
        ({"dflash.rope.dimension_sections": [16, 0, 0, 0]}, "several positions a token"),
        ({"dflash.hyper_connection.count": 4}, "DeepSeek V4"),
        ({"dflash.selector_rank": 16}, "DFlash2"),
        ({"general.architecture": "qwen9"}, "no drafter that reads hidden states"),
    ],
)
def test_a_header_that_does_not_add_up_is_refused(
    header: Mapping[str, Any], said: str, tmp_path: Path
) -> None:
    assert said in refusal(write_tiny_draft(tmp_path / "draft.gguf", header=header))


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"fc.weight": None}, "has an input of no size"),
        ({"fc.weight": np.zeros((64, 100), np.float32)}, "an input of 100 x 64"),
        ({"markov_w1.weight": np.zeros((8, 8), np.float32)}, "DSpark"),
        ({"selector_hidden.weight": np.zeros((8, 64), np.float32)}, "DFlash2"),
        ({"output.weight": np.zeros((9, 64), np.float32)}, "9 x 64 numbers in output.weight"),
        ({"token_embd.weight": np.zeros((9, 64), np.float32)}, "numbers in token_embd.weight"),
        ({"d2t": np.arange(9)}, "a map of tokens and no head"),
        ({"d2t": np.arange(9, dtype=np.float32)}, "not int64"),
        ({"d2t": np.arange(9) - 1}, "does not have"),
        ({"d2t": np.arange(9) + SHAPE.tokens - 8}, "does not have"),
    ],
)
def test_tensors_that_would_end_the_process_are_refused(
    tensors: Mapping[str, Any], said: str, tmp_path: Path
) -> None:
    assert said in refusal(write_tiny_draft(tmp_path / "draft.gguf", tensors=tensors))


WINDOW = {"dflash.attention.sliding_window": 64}


@pytest.mark.parametrize(
    ("header", "causal"),
    [
        ({}, False),
        ({"dflash.attention.causal": True}, True),
        ({"dflash.attention.causal": False}, False),
        ({**WINDOW, "dflash.attention.sliding_window_pattern": [True, True]}, True),
        ({**WINDOW, "dflash.attention.sliding_window_pattern": [False, False]}, False),
        ({**WINDOW, "dflash.attention.sliding_window_pattern": [True, False]}, None),
        (
            {
                **WINDOW,
                "dflash.attention.sliding_window_pattern": [True, False],
                "dflash.attention.causal": False,
            },
            False,
        ),
        ({"dflash.attention.causal": [True, False]}, None),
        ({"dflash.attention.causal": [True, True]}, True),
    ],
)
def test_layers_of_both_kinds_are_refused_and_others_are_known(
    header: Mapping[str, Any], causal: bool | None, tmp_path: Path
) -> None:
    draft = TinyDraft(TinyShape(layers=2))
    path = write_tiny_draft(tmp_path / "draft.gguf", draft, header=header)
    if causal is None:
        assert "see the whole block and layers that don't" in refusal(path)
    else:
        assert check_draft(path, TARGET).is_causal == causal


def test_what_is_no_gguf_file_or_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "draft.gguf"
    path.write_bytes(b"no model at all")
    assert "is not a GGUF file" in refusal(path)
    whole = write_tiny_draft(path).read_bytes()
    for size in (30, 3000):
        path.write_bytes(whole[:size])
        refusal(path)
    path.write_bytes(whole[:8] + (2**40).to_bytes(8, "little") + whole[16:])
    assert "tensors" in refusal(path)


def test_an_ordinary_model_is_no_drafter_of_this_kind(tmp_path: Path) -> None:
    assert "no drafter" in refusal(write_tiny(tmp_path / "model.gguf", "llama"))
