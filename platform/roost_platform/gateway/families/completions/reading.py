"""Reads a completions request as one chat for each prompt."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from roost_platform.gateway.families.chat.sampling import (
    check_sampling,
    output_bound,
    stream_options,
)
from roost_platform.gateway.families.fields import (
    flag,
    model_field,
    plain_name,
    refuse,
    session_of,
    text_field,
    whole_number,
)
from roost_platform.gateway.request import HINTS, ModelRequest
from roost_platform.gateway.sizes import text_bytes

N_MAX: Final = 16
CHOICES_MAX: Final = 32  # of all prompts together
LOGPROBS_MAX: Final = 5
TOKENS_BY_DEFAULT: Final = 16
READ: Final = HINTS | {
    *("model", "prompt", "suffix", "echo", "n", "best_of", "logprobs", "stream", "stream_options"),
    *("max_tokens", "max_completion_tokens"),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a body asks for beside the chats. best_of: choices made for each prompt, of which the
    `n` likeliest are given. logprobs: how many alternatives, None for no logprobs.
    """

    prompts: tuple[str, ...]
    n: int
    best_of: int
    echo: bool
    logprobs: int | None


def read_wanted(body: Mapping[str, Any]) -> Wanted:
    """The prompts and their choices. Raises InvalidRequest, which names the field."""
    prompts = _prompts(body.get("prompt"))
    n = whole_number(body, "n", 1, N_MAX) or 1
    best_of = whole_number(body, "best_of", 1, N_MAX) or n
    echo, logprobs = flag(body, "echo"), whole_number(body, "logprobs", 0, LOGPROBS_MAX)
    if best_of < n:
        refuse("best_of", "has to be at least n")
    if best_of > n and body.get("stream"):
        refuse("best_of", "above n can't be streamed")
    if best_of * len(prompts) > CHOICES_MAX:
        refuse("prompt", f"and n ask for more than {CHOICES_MAX} choices")
    if echo and logprobs is not None:
        refuse("echo", "can't go with logprobs: no provider tells those of a prompt")
    return Wanted(prompts, n, best_of, echo, logprobs)


def read_completion(body: Mapping[str, Any], headers: Mapping[str, str]) -> ModelRequest:
    """The request of this body. Raises InvalidRequest, which names the field."""
    model, wanted = model_field(body), read_wanted(body)
    if text_field(body, "suffix"):
        refuse("suffix", "is not supported: chat models don't fill in the middle")
    check_sampling(body)
    is_stream = flag(body, "stream")
    stream_options(body, is_stream=is_stream)
    most = output_bound(body) or TOKENS_BY_DEFAULT
    kept = {name: value for name, value in body.items() if name not in READ and value is not None}
    kept["max_tokens"] = most
    if kept.get("stop") == []:
        del kept["stop"]
    if wanted.logprobs is not None or wanted.best_of > wanted.n:
        kept["logprobs"] = True
    if wanted.logprobs:
        kept["top_logprobs"] = wanted.logprobs
    first, *more = (
        {**kept, "messages": [{"role": "user", "content": prompt}]} for prompt in wanted.prompts
    )
    return ModelRequest(
        family="completions",
        model=model,
        body=first,
        stream=is_stream,
        n=wanted.best_of * len(wanted.prompts),
        max_tokens=most,
        prompt_bytes=text_bytes(wanted.prompts),
        session=session_of(body, headers),
        person=plain_name(body, "user"),
        more_bodies=tuple(more),
    )


def _prompts(value: Any) -> tuple[str, ...]:
    prompts = [value] if isinstance(value, str) else value
    if not isinstance(prompts, list) or not prompts:
        refuse("prompt", "has to be a text or a list of texts")
    if any(isinstance(one, int | list) for one in prompts):
        refuse("prompt", "has to be text; tokens can't be told to a chat model")
    if len(prompts) > CHOICES_MAX:
        refuse("prompt", f"has more than {CHOICES_MAX} entries")
    if not all(isinstance(one, str) and one for one in prompts):
        refuse("prompt", "has to be text that is not empty")
    return tuple(prompts)
