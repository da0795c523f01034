"""What the file of a drafter says about itself, and whether it fits its target. No llama.cpp.

Drafters of the architectures `dflash` and `eagle3` read the target's hidden states. llama.cpp ends
the process where such a file and its target don't belong together, so all of that is checked here,
before anything is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from roost_inference.errors import EngineUnavailable
from roost_inference.models.header import Contents, NotGguf, Numbers, Value, read_contents

FEATURE_ARCHITECTURES: Final = ("dflash", "eagle3")
# Architectures whose layers llama.cpp lets read (`t_layer_inp` in its src/models); any other one
# ends the process.
TAPPED: Final = frozenset({
    "llama", "qwen3", "qwen3moe", "qwen3next", "qwen35", "qwen35moe", "qwen4exp", "gemma4",
    "gpt-oss", "lfm2", "nemotron_h", "mimo2", "minimax-01", "minimax-m2", "deepseek4",
    "hunyuan_vl", "bailingmoe3", "muse-glimmer", "nanbeige",
})  # fmt: skip
# Of these also what leaves the last layer can be read.
TAPPED_AT_END: Final = frozenset({"deepseek4", "mimo2", "nemotron_h"})
TAPS_MAX = 16
BLOCK_MAX = 256
# A longer map of tokens is refused unread.
ROWS_READ_MAX = 2**24
_INT64 = 27


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What a drafter must fit: the target's architecture, layers, width of its hidden states and
    number of tokens."""

    architecture: str
    layers: int
    width: int
    tokens: int


@dataclass(frozen=True, slots=True)
class DraftFacts:
    """A drafter that reads hidden states. taps: the layers whose inputs it reads; read: numbers of
    each; block: the longest query block, 0 for one that guesses token by token; is_causal: a row of
    the block sees none of those behind it."""

    architecture: str
    taps: tuple[int, ...]
    read: int
    block: int = 0
    is_causal: bool = True


def architecture_of(path: Path) -> str:
    """The architecture of a GGUF file, empty if it has none. Raises EngineUnavailable."""
    return str(_contents(path).values.get("general.architecture", ""))


def check_draft(path: Path, target: TargetFacts) -> DraftFacts:
    """What the drafter is, if it fits the target. Raises EngineUnavailable saying what does not."""
    contents = _contents(path)
    name, architecture = path.name, str(contents.values.get("general.architecture", ""))
    if architecture not in FEATURE_ARCHITECTURES:
        raise EngineUnavailable(f"{name} is no drafter that reads hidden states")
    if target.architecture not in TAPPED:
        raise EngineUnavailable(
            f"The drafter {name} reads hidden states, and those of the architecture "
            f"{target.architecture} can't be read. Choose a draft model of the same family."
        )
    taps = _taps(name, architecture, contents, target)
    width = _whole(name, contents.values, f"{architecture}.embedding_length")
    read = width if architecture == "dflash" else _whole(
        name, contents.values, f"{architecture}.target_hidden_size"
    )  # fmt: skip
    if read != target.width:
        raise EngineUnavailable(
            f"The drafter {name} reads hidden states of {read} numbers, those of the model have "
            f"{target.width}. It was made for another model."
        )
    shape = contents.tensors["fc.weight"].sizes if "fc.weight" in contents.tensors else ()
    if shape != (width, len(taps) * target.width):
        raise EngineUnavailable(
            f"The drafter {name} has an input of {' x '.join(map(str, shape[::-1])) or 'no size'}, "
            f"{len(taps)} layers of {target.width} numbers need {len(taps) * target.width} x "
            f"{width}"
        )
    _check_head(path, contents, width, target)
    if architecture == "eagle3":
        _check_eagle3(name, contents)
        return DraftFacts(architecture, taps, read)
    _check_plain_dflash(name, contents)
    block = _whole(name, contents.values, "dflash.block_size")
    if not 2 <= block <= BLOCK_MAX:
        raise EngineUnavailable(f"The drafter {name} has blocks of {block} tokens, 2 to {BLOCK_MAX}"
                                " are possible")  # fmt: skip
    if "tokenizer.ggml.mask_token_id" not in contents.values:
        raise EngineUnavailable(f"The drafter {name} names no mask token")
    mask = _whole(name, contents.values, "tokenizer.ggml.mask_token_id")
    if mask >= target.tokens:
        raise EngineUnavailable(
            f"The drafter {name} has the mask token {mask}, the model has {target.tokens} tokens"
        )
    return DraftFacts(architecture, taps, read, block, _causality(name, contents))


def _contents(path: Path) -> Contents:
    try:
        return read_contents(path)
    except NotGguf as error:
        raise EngineUnavailable(f"The draft model can't be read: {error.message}") from error
    except OSError as error:
        raise EngineUnavailable(f"The draft model {path} can't be read: {error}") from error


def _taps(name: str, architecture: str, contents: Contents, target: TargetFacts) -> tuple[int, ...]:
    taps = tuple(int(tap) for tap in contents.lists.get(f"{architecture}.target_layers", ()))
    if not 0 < len(taps) <= TAPS_MAX or len(set(taps)) < len(taps):
        raise EngineUnavailable(f"The drafter {name} names no layers of its target, or one twice")
    if architecture == "eagle3" and len(taps) != 3:
        raise EngineUnavailable(f"The drafter {name} reads {len(taps)} layers, EAGLE-3 reads three")
    last = target.layers - (target.architecture not in TAPPED_AT_END)
    for tap in taps:
        if not 0 <= tap <= last:
            raise EngineUnavailable(
                f"The drafter {name} reads layer {tap} of its target, 0 to {last} can be read"
            )
    return taps


def _check_head(path: Path, contents: Contents, width: int, target: TargetFacts) -> None:
    """Refuse embeddings, heads and maps of tokens that are not the target's."""
    tensors, name = contents.tensors, path.name
    rows, mapped = target.tokens, tensors.get("d2t")
    if mapped is not None:
        if mapped.kind != _INT64 or len(mapped.sizes) != 1:
            raise EngineUnavailable(f"The drafter {name} has a map of tokens that is not int64")
        rows = mapped.sizes[0]
        rows = min(rows, ROWS_READ_MAX)
        tokens = np.fromfile(path, np.int64, rows, offset=mapped.place)
        is_whole = 0 < rows == len(tokens) == mapped.sizes[0]
        if not is_whole or tokens.min() < 0 or tokens.max() >= target.tokens:
            raise EngineUnavailable(
                f"The drafter {name} maps its tokens to such as the model does not have"
            )
        if "output.weight" not in tensors:
            raise EngineUnavailable(
                f"The drafter {name} has a map of tokens and no head of its own"
            )
    for tensor, expected in (
        ("output.weight", (rows, width)), ("token_embd.weight", (target.tokens, width)),
    ):  # fmt: skip
        if tensor in tensors and tensors[tensor].sizes != expected:
            raise EngineUnavailable(
                f"The drafter {name} has {' x '.join(map(str, tensors[tensor].sizes))} numbers in "
                f"{tensor}, {' x '.join(map(str, expected))} are needed. It was made for another "
                "vocabulary or model."
            )
    if width != target.width and not {"output.weight", "token_embd.weight"} <= set(tensors):
        raise EngineUnavailable(
            f"The drafter {name} is {width} numbers wide and has no embeddings and head of its own"
        )


def _check_plain_dflash(name: str, contents: Contents) -> None:
    """Refuse the later forms of the architecture, which draft by other rules."""
    if any(tensor.startswith("markov_w") for tensor in contents.tensors):
        raise EngineUnavailable(f"The drafter {name} is of the kind DSpark, which is not supported")
    if "selector_hidden.weight" in contents.tensors or "dflash.selector_rank" in contents.values:
        raise EngineUnavailable(
            f"The drafter {name} is of the kind DFlash2, which is not supported"
        )
    if contents.values.get("dflash.hyper_connection.count"):
        raise EngineUnavailable(
            f"The drafter {name} was made for DeepSeek V4, which is not supported"
        )
    if any(contents.lists.get("dflash.rope.dimension_sections", ())):
        raise EngineUnavailable(
            f"The drafter {name} was made for a model with several positions a token, which is "
            "not supported"
        )
    _check_heads(name, "dflash", contents)


def _check_eagle3(name: str, contents: Contents) -> None:
    if contents.values.get("eagle3.block_count") != 1:
        raise EngineUnavailable(f"The drafter {name} has more than the one layer of EAGLE-3")
    _check_heads(name, "eagle3", contents)


def _check_heads(name: str, architecture: str, contents: Contents) -> None:
    values = contents.values
    heads = _whole(name, values, f"{architecture}.attention.head_count")
    size = _whole(name, values, f"{architecture}.embedding_length") // max(heads, 1)
    key = values.get(f"{architecture}.attention.key_length", size)
    if values.get(f"{architecture}.attention.value_length", size) != key:
        raise EngineUnavailable(f"The drafter {name} has keys and values of different sizes")


def _causality(name: str, contents: Contents) -> bool:
    """Whether a token of the query block sees those behind it not. Without a word in the file,
    layers with a sliding window are causal and others are not, as vLLM has it; llama.cpp knows one
    rule for all layers."""
    key = "dflash.attention.causal"
    layers = _whole(name, contents.values, "dflash.block_count")
    said: Numbers = contents.lists.get(key, ())
    if key in contents.values:
        said = (bool(contents.values[key]),)
    if not said:
        window = bool(contents.values.get("dflash.attention.sliding_window"))
        pattern = contents.lists.get("dflash.attention.sliding_window_pattern", ())
        said = tuple(bool(one) for one in pattern[:layers]) if window and pattern else (window,)
    if len({bool(one) for one in said}) > 1:
        raise EngineUnavailable(
            f"The drafter {name} has layers that see the whole block and layers that don't, which "
            "is not supported"
        )
    return bool(said[0])


def _whole(name: str, values: Mapping[str, Value], key: str) -> int:
    value = values.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise EngineUnavailable(f"The drafter {name} does not say its {key}")
    return value
