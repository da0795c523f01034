"""A request in the engine: its tokens, its state, and what became of it. No I/O."""

from collections.abc import Sequence as Many
from dataclasses import dataclass, field

import numpy as np

from roost_inference.batch import Tokens
from roost_inference.output.detokenizer import TextStream
from roost_inference.output.logprobs import PromptLogprobs
from roost_inference.output.sampler import Sampler
from roost_inference.request import Event, Listener, Request, ServiceClass, Timings, Usage


class TokenBuffer:
    """A growing int32 array of tokens."""

    def __init__(self, tokens: Many[int] | Tokens) -> None:
        self._array: Tokens = np.array(tokens, np.int32)
        self._size = len(self._array)

    def __len__(self) -> int:
        return self._size

    @property
    def view(self) -> Tokens:
        """All tokens, as an array that shares this one's memory until the next append."""
        return self._array[: self._size]

    @property
    def last(self) -> int:
        """The last token."""
        return int(self._array[self._size - 1])

    def append(self, token: int) -> None:
        """Add a token."""
        if self._size == len(self._array):
            grown = np.empty(max(64, 2 * self._size), np.int32)
            grown[: self._size] = self._array
            self._array = grown
        self._array[self._size] = token
        self._size += 1


@dataclass(slots=True, eq=False)
class Account:
    """A tenant's tokens in one class: those it was served and those reserved for what runs.
    `prefilling` counts its sequences that wait or have their prompts computed."""

    fairness_key: str
    served: float = 0.0
    reserved: float = 0.0
    prefilling: int = 0

    @property
    def promised(self) -> float:
        """What it was served and may still be served for what it has running."""
        return self.served + self.reserved


@dataclass(eq=False, slots=True)
class Sequence:
    """The whole state of a request. Its tokens are the prompt and what was generated.

    Tokens [0, computed) are in the KV of `sequence_id`, the rest is pending. A sequence is decoding
    while only the last token that it generated is pending, and prefilling before.
    """

    request: Request
    listener: Listener
    arrival_s: float
    order: int
    sampler: Sampler
    text: TextStream
    tokens: TokenBuffer
    # Prompt and answer together; the context bounds it, too.
    length_max: int
    # Tokens that end it and are no part of its text.
    silent_tokens: frozenset[int]
    # Gathers the logprobs of its prompt, if they are wanted.
    prompt_logprobs: PromptLogprobs | None = None
    service: ServiceClass = field(init=False)
    fairness_key: str = field(init=False)
    # The account of its tenant while the scheduler has it, and what it has reserved there.
    account: Account | None = None
    reserved: float = 0.0
    # It waits or its prompt is being computed; so again after it was preempted.
    awaits_prefill: bool = False
    # It was admitted before sequences of a higher class, so it is not preempted for them.
    is_promoted: bool = False
    # Tokens of later sequences that were admitted before it because it did not fit.
    overtaken: int = 0
    sequence_id: int | None = None
    computed: int = 0
    cached_tokens: int = 0
    started_s: float | None = None
    first_token_s: float | None = None
    last_token_s: float | None = None
    preemptions: int = 0
    abort_requested: bool = False
    kv_report: dict[str, object] = field(default_factory=dict)
    prompt_length: int = field(init=False)
    # It has a seed and no session, so the same request shall give the same answer to the last bit
    # while it is alone: nothing is guessed, and its prompt is computed in the same pieces.
    repeats_exactly: bool = field(init=False)
    # Nobody else ran when it was matched with what is cached.
    was_alone: bool = False

    def __post_init__(self) -> None:
        self.prompt_length = len(self.tokens)
        self.service = self.request.service
        self.fairness_key = self.request.fairness_key
        has_session = self.request.session.session_id is not None
        self.repeats_exactly = self.request.sampling.seed is not None and not has_session

    @property
    def id(self) -> str:
        """The id of its request."""
        return self.request.id

    @property
    def rank(self) -> tuple[int, int]:
        """Class, then order of arrival: the lower it is, the later the sequence is preempted."""
        return (ServiceClass.INTERACTIVE if self.is_promoted else self.service, self.order)

    @property
    def pending(self) -> int:
        """Tokens not yet in the KV; at least one while the sequence runs."""
        return len(self.tokens) - self.computed

    @property
    def generated(self) -> int:
        """Tokens generated so far."""
        return len(self.tokens) - self.prompt_length

    @property
    def is_decoding(self) -> bool:
        """Whether only the last token that it generated is pending."""
        length = len(self.tokens)
        return length - self.computed == 1 and length > self.prompt_length

    @property
    def tells_prompt(self) -> bool:
        """Whether its prompt has still to be computed whole, for the logprobs of its tokens."""
        return self.prompt_logprobs is not None and not self.prompt_logprobs.is_complete

    @property
    def tokens_left(self) -> int:
        """Tokens it may still generate."""
        return self.length_max - len(self.tokens)

    def usage(self) -> Usage:
        """Token counts so far."""
        return Usage(self.prompt_length, self.cached_tokens, self.generated)

    def timings(self, now: float) -> Timings:
        """How long it has waited and run."""
        started = self.started_s if self.started_s is not None else now
        first = self.first_token_s
        return Timings(
            queue_s=started - self.arrival_s,
            first_token_s=None if first is None else first - self.arrival_s,
            total_s=now - self.arrival_s,
        )

    def emit(self, event: Event) -> None:
        """Hand an event to its listener."""
        self.listener(event)
