"""Checks how tokens are chosen, and the bounds of an answer."""

from collections.abc import Mapping
from typing import Any, Final

from roost_platform.gateway.families.fields import (
    TOKENS_MAX,
    flag,
    number,
    object_field,
    one_of,
    refuse,
    text_field,
    whole_number,
)

STOPS_MAX: Final = 16
STOP_CHARACTERS_MAX: Final = 512
BIASES_MAX: Final = 1024
TOP_LOGPROBS_MAX: Final = 20
SEED_BITS: Final = 64
METADATA_MAX: Final = 64
EFFORTS: Final = frozenset(
    {"none", "minimal", "low", "medium", "high", "xhigh", "max", "auto", "default"}
)
TEXTS: Final = (
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "verbosity",
)
OBJECTS: Final = (
    "metadata",
    "audio",
    "prediction",
    "web_search_options",
    "chat_template_kwargs",
)
FLAGS: Final = ("store", "ignore_eos", "skip_special_tokens")
# What check_chat_fields looks at, and most requests have none of.
RARE: Final = frozenset(
    {
        *("logprobs", "top_logprobs", "reasoning_effort", "reasoning", "modalities"),
        *(*TEXTS, *OBJECTS, *FLAGS),
    }
)


def output_bound(body: Mapping[str, Any]) -> int | None:
    """The most tokens of the answer, by either name; the newer one counts where both are given."""
    older = whole_number(body, "max_tokens", 1, TOKENS_MAX)
    newer = whole_number(body, "max_completion_tokens", 1, TOKENS_MAX)
    return older if newer is None else newer


def check_sampling(body: Mapping[str, Any]) -> None:
    """Check what completions and chats have in common. Raises InvalidRequest, names the field."""
    number(body, "temperature", 0, 2)
    number(body, "top_p", 0, 1)
    number(body, "min_p", 0, 1)
    number(body, "repetition_penalty", 0, 10, is_above=True)
    number(body, "frequency_penalty", -2, 2)
    number(body, "presence_penalty", -2, 2)
    whole_number(body, "top_k", -1, TOKENS_MAX)
    whole_number(body, "min_tokens", 0, TOKENS_MAX)
    whole_number(body, "seed", -(2 ** (SEED_BITS - 1)), 2**SEED_BITS - 1)
    check_stop(body)
    check_bias(body)


def check_chat_fields(body: Mapping[str, Any]) -> None:
    """Check the other fields of a chat. Raises InvalidRequest, which names the field."""
    check_sampling(body)
    if RARE.isdisjoint(body):
        return
    has_logprobs = flag(body, "logprobs")
    top = whole_number(body, "top_logprobs", 0, TOP_LOGPROBS_MAX)
    if top and not has_logprobs:
        refuse("top_logprobs", "needs logprobs to be true")
    one_of(body, "reasoning_effort", EFFORTS)
    effort = (object_field(body, "reasoning") or {}).get("effort")
    if effort is not None and (not isinstance(effort, str) or effort not in EFFORTS):
        refuse("reasoning.effort", f"has to be one of {', '.join(sorted(EFFORTS))}")
    for name in TEXTS:
        text_field(body, name)
    for name in OBJECTS:
        object_field(body, name)
    for name in FLAGS:
        flag(body, name)
    _check_metadata(body.get("metadata") or {})
    modalities = body.get("modalities")
    if modalities is not None and modalities != ["text"]:
        refuse("modalities", 'has to be ["text"]; the gateway gives no sound')


def stream_options(body: Mapping[str, Any], *, is_stream: bool) -> None:
    """Check `stream_options`, which belongs to streams."""
    options = object_field(body, "stream_options")
    if options is None:
        return
    if not is_stream:
        refuse("stream_options", "is for streams; set stream to true")
    for name in ("include_usage", "include_obfuscation"):
        if options.get(name) is not None and not isinstance(options[name], bool):
            refuse(f"stream_options.{name}", "has to be true or false")


def check_stop(body: Mapping[str, Any]) -> None:
    """Check `stop`: a text, or a list of them."""
    stop = body.get("stop")
    stops = [stop] if isinstance(stop, str) else stop
    if stops is None:
        return
    if not isinstance(stops, list) or len(stops) > STOPS_MAX:
        refuse("stop", f"has to be a text or a list of at most {STOPS_MAX} texts")
    for one in stops:
        if not isinstance(one, str) or not 0 < len(one) <= STOP_CHARACTERS_MAX:
            refuse("stop", f"has texts of 1 to {STOP_CHARACTERS_MAX} characters")


def check_bias(body: Mapping[str, Any]) -> None:
    """Check `logit_bias`: token ids with numbers from -100 to 100."""
    biases = object_field(body, "logit_bias")
    if biases is None:
        return
    if len(biases) > BIASES_MAX:
        refuse("logit_bias", f"has more than {BIASES_MAX} entries")
    for token, value in biases.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (token.isascii() and token.isdigit() and len(token) <= 10):
            refuse("logit_bias", "has token ids as its keys")
        if not is_number or not -100 <= value <= 100:
            refuse("logit_bias", "has numbers from -100 to 100 as its values")


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    if len(metadata) > METADATA_MAX:
        refuse("metadata", f"has more than {METADATA_MAX} entries")
    if not all(isinstance(value, str) for value in metadata.values()):
        refuse("metadata", "has texts as its values")
