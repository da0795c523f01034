"""What is kept of an engine's figures for a model call: numbers and short names, no content."""

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

NAME_CHARS_MAX: Final = 80
NAMES_MAX: Final = 8  # of tiers or drafters in one figure

# The kept fields of each group. Our core reports all of them, vLLM the last group.
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "divergence": ("at_token", "lost_tokens", "in"),
    "kv": (
        "decision",
        "expected_load_ms",
        "expected_recompute_ms",
        "device_tokens",
        "loaded_tokens",
        "loaded_from",
        "load_ms",
    ),
    "speculative_decoding": (
        "num_draft_tokens",
        "num_accepted_draft_tokens",
        "num_spec_steps",
        "mean_acceptance_length",
        "accepted_by_drafter",
    ),
}
TIMES: Final = ("queue_ms", "first_token_ms", "total_ms")


def engine_figures(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The known figures of a response's `metrics`; anything of another form is left out."""
    kept = {name: metrics[name] for name in TIMES if _is_number(metrics.get(name))}
    for group, names in GROUPS.items():
        figures = metrics.get(group)
        if not isinstance(figures, Mapping):
            continue
        fields = {name: _plain(figures[name]) for name in names if name in figures}
        fields = {name: value for name, value in fields.items() if value is not None}
        if fields:
            kept[group] = fields
    return kept


def _plain(value: Any) -> Any:
    """A number, a short name, or a small table of numbers by name; None for anything else."""
    if _is_number(value):
        return value
    if isinstance(value, str):
        return value[:NAME_CHARS_MAX]
    if isinstance(value, Mapping):
        pairs = [(str(key)[:NAME_CHARS_MAX], entry) for key, entry in value.items()]
        return dict([pair for pair in pairs if _is_number(pair[1])][:NAMES_MAX])
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
