"""What the engine reports of a turn's calls, in sentences: divergence, loads, drafts."""

from collections.abc import Mapping, Sequence
from typing import Any

from roost_platform.db import models

TIERS = {"ram": "RAM", "disk": "disk", "object": "the object store"}


def engine_notes(steps: Sequence[models.TurnStep]) -> tuple[str, ...]:
    """One sentence for each fact worth knowing; none for engines that report nothing."""
    notes: list[str] = []
    for step in steps:
        report = step.engine or {}
        for describe in (_diverged, _loaded, _drafted):
            line = describe(report)
            if line:
                notes.append(f"Call {step.step}: {line}." if len(steps) > 1 else sentence(line))
    return tuple(notes)


def sentence(line: str) -> str:
    """The line as a sentence of its own."""
    return f"{line[0].upper()}{line[1:]}."


def _diverged(report: Mapping[str, Any]) -> str:
    divergence = report.get("divergence")
    if not divergence:
        return ""
    at, where = divergence.get("at_token", 0), divergence.get("in", "an unknown place")
    return (
        f"the prompt diverged from the session's last one at token {at}, in {where}; "
        f"{divergence.get('lost_tokens', 0)} tokens could not be used again"
    )


def _loaded(report: Mapping[str, Any]) -> str:
    kv = report.get("kv") or {}
    loading = f"{kv.get('expected_load_ms', 0):.0f} ms to load"
    computing = f"{kv.get('expected_recompute_ms', 0):.0f} ms to compute"
    if kv.get("decision") == "load" and kv.get("loaded_tokens"):
        tiers = [
            TIERS.get(tier, tier) for tier, count in (kv.get("loaded_from") or {}).items() if count
        ]
        source = " and ".join(tiers) or "below"
        took = f"{kv.get('load_ms', 0):.1f} ms"
        return f"{kv['loaded_tokens']} tokens came from {source} in {took} ({computing})"
    if kv.get("decision") == "recompute":
        return f"computing was cheaper than loading ({computing}, {loading})"
    return ""


def _drafted(report: Mapping[str, Any]) -> str:
    drafts = report.get("speculative_decoding") or {}
    if not drafts.get("num_draft_tokens"):
        return ""
    accepted = drafts.get("num_accepted_draft_tokens", 0)
    return f"{accepted} of {drafts['num_draft_tokens']} drafted tokens were accepted"
