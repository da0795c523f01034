"""The figures of an answer in OpenAI's and vLLM's shapes: usage, times, drafts, logprobs."""

from collections.abc import Iterable, Sequence
from typing import Any

from roost_inference.http.generation import Finished
from roost_inference.request import PromptToken, SpeculationFigures, Timings, TokenLogprob, Usage
from roost_inference.wire.kv_transfer import offer_body
from roost_inference.wire.usage import usage_of

# JSON has no -inf, which a token that can't come has.
LOWEST = -9999.0


def figures_of(ends: Sequence[Finished]) -> dict[str, Any]:
    """`usage` of all choices, `metrics` with the times of the first, and `kv_transfer_params` where
    its prompt is handed over. The choices have read one prompt, so it counts once."""
    end = min(ends, key=lambda each: each.choice)
    written = sum(each.usage.completion_tokens for each in ends)
    usage = Usage(end.usage.prompt_tokens, end.usage.cached_tokens, written)
    figures: dict[str, Any] = {"usage": usage_body(usage)}
    if end.timings is not None:
        figures["metrics"] = {**_timings(end.timings), **end.figures}
    if end.speculation is not None:
        figures.setdefault("metrics", {})["speculative_decoding"] = _speculation(end.speculation)
    if end.offer is not None:
        figures["kv_transfer_params"] = offer_body(end.offer)
    return figures


def usage_body(usage: Usage) -> dict[str, Any]:
    """`usage` with all of its keys."""
    return usage_of(usage.prompt_tokens, usage.completion_tokens, cached=usage.cached_tokens)


def _timings(timings: Timings) -> dict[str, float | None]:
    first = timings.first_token_s
    return {
        "queue_ms": round(timings.queue_s * 1000, 3),
        "first_token_ms": None if first is None else round(first * 1000, 3),
        "total_ms": round(timings.total_s * 1000, 3),
    }


def _speculation(figures: SpeculationFigures) -> dict[str, Any]:
    """vLLM's names and shapes, and the accepted tokens by drafter."""
    unseen = [0] * (figures.depth_max + 1 - len(figures.histogram))
    return {
        "mean_acceptance_length": round(1 + figures.accepted_tokens / figures.steps, 3),
        "draft_acceptance_rate": round(figures.accepted_tokens / figures.draft_tokens, 3),
        "acceptance_histogram": [*figures.histogram, *unseen],
        "acceptance_histogram_by_draft_length": {
            str(length): list(counts) for length, counts in figures.by_draft_length.items()
        },
        "num_spec_steps": figures.steps,
        "num_accepted_draft_tokens": figures.accepted_tokens,
        "num_draft_tokens": figures.draft_tokens,
        "num_spec_tokens": figures.depth_max,
        "accepted_by_drafter": dict(figures.accepted_by_drafter),
    }


def logprobs_body(tokens: Iterable[TokenLogprob], *, as_ids: bool = False) -> dict[str, Any]:
    """`logprobs` of a choice. as_ids: tokens are named by their numbers instead of their text."""
    content = [
        {
            **_token(token, as_ids),
            "top_logprobs": [_token(likely, as_ids) for likely in token.top],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def prompt_logprobs_body(prompt: Iterable[PromptToken | None]) -> list[dict[str, Any] | None]:
    """vLLM's `prompt_logprobs`: for each token an object by token, itself and the likeliest."""
    return [None if told is None else _prompt_token(told) for told in prompt]


def _prompt_token(told: PromptToken) -> dict[str, Any]:
    ranked = [*enumerate(told.found.top, 1), (told.rank, told.found)]
    return {
        str(token.token): {
            "logprob": max(token.logprob, LOWEST),
            "rank": rank,
            "decoded_token": token.text,
        }
        for rank, token in ranked
    }


def _token(token: TokenLogprob, as_id: bool) -> dict[str, Any]:
    return {
        "token": f"token_id:{token.token}" if as_id else token.text,
        "logprob": max(token.logprob, LOWEST),
        "bytes": list(token.data),
    }
