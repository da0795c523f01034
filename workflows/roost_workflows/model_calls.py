"""What is kept of model calls beside their content: what they cost, and how the model was asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one model call and its times in seconds. `engine`: what the engine tells of
    the call, small and without content (figures.py).
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    time_to_first_token_s: float | None = None
    duration_s: float = 0.0
    engine: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """How the model was asked, without content: with the transcript and the agent it gives the
    prompt again.

    end: the place in the session's transcript after the last message that the prompt had.
    shortening: the level of `window` at which the history fitted. last: whether tools were taken
        away. pictures: ids of the files shown; None for a model that sees none.
    agent_digest: of the instructions and tools, to see whether they changed since.
    finish_reason: why the answer ended, in the engine's word.
    manifest: what the prompt was made of, by places and hashes (turn/manifest.py).
    """

    end: int = 0
    shortening: int = 0
    last: bool = False
    pictures: tuple[str, ...] | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    agent_digest: str = ""
    finish_reason: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def ended(self, finish_reason: str, model: str) -> "Asked":
        """With why the answer ended and the name of the model that gave it."""
        manifest = {**self.manifest, "model": model}
        return replace(self, finish_reason=finish_reason, manifest=manifest)


@dataclass(frozen=True, slots=True)
class Spent:
    """What a turn has used so far.

    calls: its tool calls in order, as (call id, tool name, arguments). tokens: read and written.
    worked_s: seconds in model calls and tool calls that have ended. limit: one of
    reasons.LIMIT_REASONS that is reached beyond those of the agent; else empty.
    """

    calls: tuple[tuple[str, str, str], ...] = ()
    tokens: int = 0
    worked_s: float = 0.0
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """How another agent gave the task that a turn works on.

    in_background: nobody waits for the answer. schema: the JSON schema of the answer, None for
    text.
    """

    in_background: bool = False
    schema: Mapping[str, Any] | None = None
