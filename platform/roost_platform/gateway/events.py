"""What an answer consists of, whatever the provider's wire and the client's family.

A stream of events is: Started, then deltas in any order, one Finish for each choice, and Usage
where the provider tells it. `choice` counts from 0; above 0 only for requests with `n` above 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "error"]


@dataclass(frozen=True, slots=True)
class Started:
    """The provider has begun. model: its own name of the model; fingerprint: of its build.

    prompt: tokens of the prompt, where the provider tells them before it answers.
    """

    id: str = ""
    model: str = ""
    fingerprint: str | None = None
    prompt: "Usage | None" = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text of the answer. logprobs: OpenAI's entries of these tokens."""

    text: str
    choice: int = 0
    logprobs: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class TextWasReasoning:
    """All text of this choice so far was reasoning, as a late closing tag shows. A whole answer
    takes it back; a stream can't.
    """

    choice: int = 0


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """Reasoning, which is not part of the text. signature: a provider's proof of a whole block,
    which it wants back with the block. is_redacted: the text is ciphertext.
    """

    text: str
    choice: int = 0
    signature: str = ""
    is_redacted: bool = False


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """Text in which the model refuses to answer."""

    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A part of a tool call. index counts the calls of a choice; id and name come with the first
    part of a call, arguments are pieces of JSON text.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    choice: int = 0


@dataclass(frozen=True, slots=True)
class NativePart:
    """A part of the answer that only clients of the provider's own wire are told, in its own form:
    a whole block of content, or with `is_delta` an addition to the text before it.
    """

    value: Mapping[str, Any]
    is_delta: bool = False
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """A choice is complete. stop_sequence: the stop text that ended it, where it is told.

    native: how the provider says it, for clients of its own wire.
    """

    reason: FinishReason
    choice: int = 0
    stop_sequence: str | None = None
    native: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the provider counts them. input_tokens has the cached ones in it, output_tokens
    those of the reasoning. metrics: figures of the bundled core. warnings: fields of the request
    that it does not heed. native: the provider's own figures, for clients of its own wire.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[Mapping[str, str]] = ()
    native: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of a request for embeddings, in OpenAI's form; it is all of such an answer."""

    value: Mapping[str, Any]


Event = (
    Started
    | TextDelta
    | TextWasReasoning
    | ReasoningDelta
    | RefusalDelta
    | CallDelta
    | NativePart
    | Finish
    | Usage
    | Embedded
)
