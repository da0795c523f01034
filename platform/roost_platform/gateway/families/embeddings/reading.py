"""Reads a request for embeddings."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from roost_platform.gateway.families.fields import (
    TOKENS_MAX,
    model_field,
    one_of,
    plain_name,
    refuse,
    whole_number,
)
from roost_platform.gateway.request import HINTS, ModelRequest
from roost_platform.gateway.sizes import text_bytes

INPUTS_MAX: Final = 2048
INPUT_TOKENS_MAX: Final = 8192  # of an input that comes as tokens
DIMENSIONS_MAX: Final = 65_536
BYTES_PER_TOKEN: Final = 4
FORMATS: Final = frozenset({"float", "base64"})
TAKEN: Final = HINTS | {"model", "stream", "stream_options"}


def read_embeddings(body: Mapping[str, Any]) -> ModelRequest:
    """The request of this body. Raises InvalidRequest, which names the field."""
    inputs = inputs_of(body.get("input"))
    one_of(body, "encoding_format", FORMATS)
    whole_number(body, "dimensions", 1, DIMENSIONS_MAX)
    tokens = sum(len(one) for one in inputs if not isinstance(one, str))
    return ModelRequest(
        family="embeddings",
        model=model_field(body),
        body={k: v for k, v in body.items() if k not in TAKEN and v is not None},
        n=0,  # nothing is generated
        max_tokens=0,
        prompt_bytes=text_bytes(inputs) + tokens * BYTES_PER_TOKEN,
        person=plain_name(body, "user"),
    )


def inputs_of(value: Any) -> Sequence[str | Sequence[int]]:
    """The inputs: a text, tokens, or a list of either. Raises InvalidRequest."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value:
        refuse("input", "has to be a text, a list of texts, tokens, or a list of tokens")
    if all(_is_token(one) for one in value):
        value = [value]
    if len(value) > INPUTS_MAX:
        refuse("input", f"has more than {INPUTS_MAX} entries")
    for index, one in enumerate(value):
        if isinstance(one, str):
            if not one:
                refuse("input", f"has an empty text at {index}")
        elif not isinstance(one, list) or not one or not all(_is_token(token) for token in one):
            refuse("input", f"has neither text nor tokens at {index}")
        elif len(one) > INPUT_TOKENS_MAX:
            refuse("input", f"has more than {INPUT_TOKENS_MAX} tokens at {index}")
    inputs: Sequence[str | Sequence[int]] = value
    return inputs


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= TOKENS_MAX
