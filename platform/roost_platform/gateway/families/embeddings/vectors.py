"""Vectors as the client wants them, whatever form the provider gives."""

import base64
import binascii
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from roost_inference.errors import InvalidRequest
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.errors import UnreadableAnswer
from roost_platform.gateway.families.embeddings.reading import inputs_of
from roost_platform.gateway.request import ModelRequest

FLOAT_BYTES = 4


def embedding_list(
    request: ModelRequest, body: Mapping[str, Any], answer: Answer
) -> dict[str, Any]:
    """The answer in OpenAI's form. Raises UnreadableAnswer for one that does not fit the request,
    InvalidRequest for a model that can't give as many dimensions as are wanted.
    """
    value = answer.embedded.value if answer.embedded else {}
    entries, wanted = value.get("data"), len(inputs_of(body.get("input")))
    if not isinstance(entries, list) or len(entries) != wanted:
        raise UnreadableAnswer(f"The provider has not given {wanted} vectors")
    vectors: list[Any] = [None] * wanted
    for place, entry in enumerate(entries):
        index = entry.get("index", place) if isinstance(entry, dict) else None
        if not isinstance(index, int) or not 0 <= index < wanted or vectors[index] is not None:
            raise UnreadableAnswer("The provider's vectors are not numbered as they should be")
        vectors[index] = _in_form(entry.get("embedding"), body)
    tokens = answer.usage.input_tokens
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ],
        "model": request.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _in_form(vector: Any, body: Mapping[str, Any]) -> str | Sequence[float]:
    """A vector as floats or base64, with as many dimensions as are wanted."""
    is_text = isinstance(vector, str)
    length = _length(vector)
    dimensions = body.get("dimensions")
    if dimensions is not None and length != dimensions:
        raise InvalidRequest(
            f"The model gives vectors of {length} dimensions and not of {dimensions}",
            param="dimensions",
        )
    if body.get("encoding_format") == "base64":
        return str(vector) if is_text else base64.b64encode(_packed(vector)).decode()
    floats = _unpacked(vector) if is_text else list(vector)
    if not all(map(_is_finite, floats)):
        raise UnreadableAnswer("The provider's vector has a number that is none")
    return floats


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond all floats
        return False


def _length(vector: Any) -> int:
    if isinstance(vector, str):
        return len(_decoded(vector)) // FLOAT_BYTES
    is_vector = isinstance(vector, list) and bool(vector)
    if not is_vector or not all(type(one) in (int, float) for one in vector):
        raise UnreadableAnswer("The provider has given something else than a vector")
    return len(vector)


def _decoded(text: str) -> bytes:
    try:
        packed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        packed = b""
    if not packed or len(packed) % FLOAT_BYTES:
        raise UnreadableAnswer("The provider's base64 is no vector")
    return packed


def _packed(vector: Sequence[float]) -> bytes:
    try:
        return struct.pack(f"<{len(vector)}f", *vector)
    except (struct.error, OverflowError):
        raise UnreadableAnswer("The provider's vector does not fit into floats") from None


def _unpacked(text: str) -> list[float]:
    packed = _decoded(text)
    return list(struct.unpack(f"<{len(packed) // FLOAT_BYTES}f", packed))
