"""Requests, events and figures: what goes into the engine and what comes out. No I/O."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from roost_inference.errors import EngineError
from roost_inference.models.kinds import ModelKind

FinishReason = Literal["stop", "length", "abort", "error"]


class ServiceClass(IntEnum):
    """Which requests go first. The numbers are the priorities on the wire: 0 and less is
    interactive, as a person waits for it; 1 continues a session after a tool's result; 2 and more
    is background."""

    INTERACTIVE = 0
    CONTINUATION = 1
    BACKGROUND = 2


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen. Temperature 0 is greedy; top_k 0 and min_p 0 are off. The
    defaults are OpenAI's.

    bad_words: sequences of tokens of which the last is never chosen after the others.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    top_logprobs: int | None = None
    bad_words: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class KvOffer:
    """A prompt's KV that another engine has computed and keeps for a while; see `kv.handover`.

    engine_id, request_id: the engine, and its lease on the blocks. host, port, socket: where it
    answers; socket is a path, empty without one. tokens: how many of the prompt are there. compat:
    equal for engines whose KV is the same. lease_s: seconds without a sign of the reader.
    """

    engine_id: str
    request_id: str
    host: str
    port: int
    tokens: int
    compat: str
    lease_s: float
    socket: str = ""


@dataclass(frozen=True, slots=True)
class KvPolicy:
    """Bounds of paging for one request; None means no bound.

    max_offload_tokens: how many tokens from its start may be stored in the tiers; max_load_tokens:
    how many tokens beyond those on the device may be loaded; load_tiers: only from these tiers.
    hands_over: the KV of its prompt is offered to another engine; offer: what another engine has of
    its prompt.
    """

    max_offload_tokens: int | None = None
    max_load_tokens: int | None = None
    load_tiers: frozenset[str] | None = None
    hands_over: bool = False
    offer: KvOffer | None = None


@dataclass(frozen=True, slots=True)
class EngineSession:
    """Which KV a request may use. Turns of one session go on from each other; KV, drafts and
    prompts are never shared between different salts.

    session_id: None for a request that belongs to no session.
    """

    session_id: str | None = None
    cache_salt: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One completion over token ids.

    stop: strings that end the text, and stop_tokens tokens that do. They are part of it only with
        `includes_stop`.
    min_tokens: before it has so many tokens nothing ends the answer but its grammar.
    grammar: an llguidance grammar (JSON or Lark text), None for free text.
    tenant: a name for the fair shares of the engine and for nothing else: isolation is the
        session's salt. None where the salt names the tenant.
    prompt_logprobs: how many alternatives are told of each of the prompt's tokens, None for no
        logprobs of the prompt; then all of it is computed.
    priority: its class; lower runs earlier within the class and the tenant.
    """

    id: str
    prompt_tokens: Sequence[int]
    max_tokens: int
    sampling: SamplingParams = SamplingParams()
    stop: tuple[str, ...] = ()
    stop_tokens: frozenset[int] = frozenset()
    includes_stop: bool = False
    min_tokens: int = 0
    grammar: str | None = None
    session: EngineSession = EngineSession()
    tenant: str | None = None
    priority: int = 0
    ignore_eos: bool = False
    prompt_logprobs: int | None = None
    kv: KvPolicy = KvPolicy()

    @property
    def service(self) -> ServiceClass:
        """The class that the priority names."""
        lowest, highest = ServiceClass.INTERACTIVE, ServiceClass.BACKGROUND
        return ServiceClass(min(max(self.priority, lowest), highest))

    @property
    def fairness_key(self) -> str:
        """Whose account is charged: the tenant, or the salt of a request that names none."""
        return self.session.cache_salt if self.tenant is None else self.tenant


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural-log probability of one token with the bytes it stands for, and of the likeliest
    tokens in its place, which name no others."""

    token: int
    data: bytes
    logprob: float
    top: tuple["TokenLogprob", ...] = ()

    @property
    def text(self) -> str:
        """The bytes as text; U+FFFD for those that are part of a character."""
        return self.data.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class PromptToken:
    """A token of a prompt: its logprob after those before it, and its rank among all tokens; the
    likeliest has rank 1."""

    found: TokenLogprob
    rank: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts; cached_tokens of the prompt were not computed but reused."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds from arrival until the request was admitted, until its first token, and until its
    end."""

    queue_s: float
    first_token_s: float | None
    total_s: float


@dataclass(frozen=True, slots=True)
class SpeculationFigures:
    """A request's drafts. depth_max: the longest draft possible; steps: decodes that verified a
    draft; histogram[n]: those of them that accepted n tokens; by_draft_length[k][n]: those that
    accepted n of k tokens."""

    depth_max: int
    steps: int
    draft_tokens: int
    accepted_tokens: int
    histogram: tuple[int, ...]
    accepted_by_drafter: Mapping[str, int]
    by_draft_length: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DrafterFigures:
    """One drafter since the start; accepted_by_position[n]: drafts whose token n was accepted."""

    drafts: int
    draft_tokens: int
    accepted_tokens: int
    accepted_by_position: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TextEvent:
    """New text, of which a stop string can't take back anything, and its tokens."""

    request_id: str
    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class FinishEvent:
    """The last event of every request, of aborted and failed ones, too.

    stop_string, stop_token: which one of the request ended it. end_token: the last token, if it
    ended the answer and is no part of the text. prompt_logprobs: None for the first token. offer:
    of a request that hands its prompt's KV over, or one word that says why there is none.
    """

    request_id: str
    reason: FinishReason
    usage: Usage
    timings: Timings
    error: EngineError | None = None
    stop_string: str | None = None
    stop_token: int | None = None
    end_token: int | None = None
    kv: Mapping[str, object] = field(default_factory=dict)
    speculation: SpeculationFigures | None = None
    prompt_logprobs: Iterable[PromptToken | None] | None = None
    offer: KvOffer | str | None = None


Event = TextEvent | FinishEvent
Listener = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The loaded model: its name on the wire, its context in tokens, what its GGUF says about
    chats and about how its texts begin, and the kernels that compute it: "native" or "portable",
    and why not the native ones. quantisation: the number format of the weights, such as Q4_0."""

    name: str
    path: str
    context_length: int
    vocabulary_size: int
    chat_template: str
    bos: str
    eos: str
    build: str
    adds_bos: bool = False
    kind: ModelKind = field(default_factory=ModelKind)
    kernels: str = ""
    kernels_reason: str = ""
    quantisation: str = ""


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Counters since the start and gauges of now. Latencies in seconds: until the first token of
    the last 512 requests, and the last 4096 gaps between tokens."""

    running: int
    waiting: int
    cells_total: int
    cells_used: int
    resident_sessions: int
    prompt_tokens_total: int
    cached_tokens_total: int
    completion_tokens_total: int
    requests_total: Mapping[str, int]
    steps_total: int
    first_token_s: Sequence[float]
    inter_token_s: Sequence[float]
    tokens_per_second: float
    speculation: Mapping[str, DrafterFigures] = field(default_factory=dict)
    # By name of class. A tenant counts once for each class it has an account in.
    waiting_by_class: Mapping[str, int] = field(default_factory=dict)
    refused_by_class: Mapping[str, int] = field(default_factory=dict)
    tenants: int = 0
    preemptions_total: int = 0
