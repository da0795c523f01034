"""A request for embeddings: its fields checked, and the answer in OpenAI's form."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from roost_inference.errors import InvalidRequest

INPUTS_MAX = 2048
FORMATS = ("float", "base64")
FIELDS = frozenset({"input", "model", "encoding_format", "dimensions", "user"})

Input = str | Sequence[int]


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """A checked request. dimensions: None for all that the model makes."""

    model: str
    inputs: Sequence[Input]
    encoding: Literal["float", "base64"] = "float"
    dimensions: int | None = None


def read_call(body: Any) -> EmbeddingCall:
    """The request of this JSON. Raises InvalidRequest that names the field; one that the engine
    does not know is refused, as its caller expects something of it."""
    if not isinstance(body, Mapping):
        raise InvalidRequest("The body has to be a JSON object")
    unknown = sorted(str(key) for key in body.keys() - FIELDS if body[key] is not None)
    if unknown:
        _refuse(unknown[0], "is unknown to this engine's embeddings")
    model, encoding = body.get("model"), body.get("encoding_format")
    dimensions = body.get("dimensions")
    if model is not None and not isinstance(model, str):
        _refuse("model", "has to be a string")
    if encoding is not None and encoding not in FORMATS:
        _refuse("encoding_format", "has to be 'float' or 'base64'")
    if dimensions is not None and (not _is_whole(dimensions) or dimensions < 1):
        _refuse("dimensions", "has to be a whole number of at least 1")
    return EmbeddingCall(model or "", _inputs(body.get("input")), encoding or "float", dimensions)


def _inputs(value: Any) -> Sequence[Input]:
    """One text, tokens, or a list of either."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value:
        _refuse("input", "has to be a text, a list of texts, tokens, or a list of tokens")
    if all(_is_whole(one) for one in value):
        value = [value]
    if len(value) > INPUTS_MAX:
        _refuse("input", f"has more than {INPUTS_MAX} entries")
    for number, one in enumerate(value):
        is_tokens = isinstance(one, list) and all(_is_whole(token) for token in one)
        if not (isinstance(one, str) or is_tokens):
            _refuse("input", f"has neither text nor tokens at {number}")
        if not one:
            _refuse("input", f"has nothing at {number}")
    inputs: Sequence[Input] = value
    return inputs


def shortened(vectors: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    """The first numbers of each vector, at length 1 again; all of them for None."""
    chosen = vectors if dimensions is None else vectors[:, :dimensions]
    lengths = np.linalg.norm(chosen, axis=1, keepdims=True)
    return np.asarray(chosen / np.where(lengths > 0, lengths, 1), np.float32)


def answer(call: EmbeddingCall, model: str, vectors: NDArray[np.float32], tokens: int) -> bytes:
    """OpenAI's list of embeddings as JSON. Written vector by vector: the interpreter writes a whole
    list in one go, and the engine's thread would wait for it."""
    data = ", ".join(
        json.dumps(
            {"object": "embedding", "index": index, "embedding": _in_form(vector, call.encoding)}
        )
        for index, vector in enumerate(vectors)
    )
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    rest = json.dumps({"model": model, "usage": usage})
    return f'{{"object": "list", "data": [{data}], {rest[1:]}'.encode()


def _in_form(vector: NDArray[np.float32], encoding: str) -> str | list[float]:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[float] = vector.tolist()
    return numbers


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse(field: str, why: str) -> NoReturn:
    raise InvalidRequest(f"{field} {why}", param=field)
