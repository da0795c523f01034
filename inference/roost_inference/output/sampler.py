"""Chooses the next token from logits: greedy or seeded, with penalties, filters and a mask.

The order is: bias, penalties, forbidden tokens and grammar mask, temperature, then min_p, top_k and
top_p as filters of the resulting distribution. Logprobs are those of the model's own logits before
all of it.

The draw is an exponential race whose noise is a hash of seed, position and token. So a choice
depends on these and the logits alone, and logits that differ in the last bits (another batch,
another cell) give another token only at a near-tie.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from roost_inference.backend import Logits
from roost_inference.batch import Tokens
from roost_inference.output.bad_words import BadWords
from roost_inference.output.grammar import Grammar
from roost_inference.output.logprobs import largest, token_logprob
from roost_inference.request import SamplingParams, TokenLogprob

GREEDY_TEMPERATURE = 1e-5

# splitmix64 mixes seed and position, murmur3's 32-bit finaliser the tokens: it runs over the
# whole vocabulary, where 64-bit products would cost twice as much.
_GOLDEN, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = 2**64 - 1

Ids = NDArray[np.intp]
Weights = NDArray[np.float32]


@dataclass(eq=False, slots=True)
class Sampler:
    """Sampling state of one sequence. With a seed, equal logits give equal tokens.

    stop_tokens: further tokens that end it; min_tokens: no token ends it before it has so many.
    """

    params: SamplingParams
    prompt: Tokens
    end_tokens: frozenset[int]
    grammar: Grammar | None = None
    ignore_end: bool = False
    stop_tokens: frozenset[int] = frozenset()
    min_tokens: int = 0
    _seed: int = field(init=False)
    # Whether the logits need no copy where no token is forbidden, and the tokens forbidden before
    # and after min_tokens.
    _is_plain: bool = field(init=False)
    _forbidden_early: frozenset[int] = field(init=False)
    _forbidden: frozenset[int] = field(init=False)
    _words: BadWords | None = field(init=False)
    _position: int = 0
    _counts: dict[int, int] = field(default_factory=dict)
    _bias_ids: Ids = field(init=False)
    _bias: NDArray[np.float32] = field(init=False)
    _prompt_ids: Tokens = field(init=False)

    def __post_init__(self) -> None:
        params = self.params
        self._seed = secrets.randbits(63) if params.seed is None else params.seed
        self._bias_ids = np.fromiter(params.logit_bias.keys(), np.intp)
        self._bias = np.fromiter(params.logit_bias.values(), np.float32)
        repeats = params.repetition_penalty != 1.0
        self._prompt_ids = np.unique(self.prompt) if repeats else np.zeros(0, np.int32)
        self._words = BadWords(params.bad_words) if params.bad_words else None
        self._forbidden = self.end_tokens if self.ignore_end else frozenset()
        self._forbidden_early = self.end_tokens | self.stop_tokens
        self._is_plain = (
            self.grammar is None
            and self._words is None
            and not params.logit_bias
            and params.frequency_penalty == params.presence_penalty == 0.0
            and params.repetition_penalty == 1.0
        )

    def sample(self, logits: Logits) -> int:
        """The next token. Changes neither the logits nor the sampler; see `accept`."""
        is_early = self._position < self.min_tokens
        forbidden = self._forbidden_early if is_early else self._forbidden
        # Where the likeliest token is allowed, it does not matter which others are not.
        if self._is_plain and (not forbidden or self.params.temperature < GREEDY_TEMPERATURE):
            token = self._choose(logits, self._position)
            if token not in forbidden:
                return token
        return self._choose(self._adjusted(logits, forbidden), self._position)

    def guess(self, logits: Logits, ahead: int) -> int:
        """What `sample` would choose `ahead` tokens further on, without penalties and grammar. With
        the same noise a draft model chooses as its target does where their logits are close."""
        return self._choose(logits, self._position + ahead)

    def _choose(self, logits: Logits, position: int) -> int:
        params = self.params
        if params.temperature < GREEDY_TEMPERATURE:
            return int(logits.argmax())
        weights = np.exp((logits - logits.max()) / np.float32(params.temperature))
        tokens = candidates(weights, params)
        race = weights[tokens] / exponential_noise(self._seed, position, tokens)
        return int(tokens[race.argmax()])

    def accept(self, token: int) -> None:
        """Note a generated token, for penalties and the grammar."""
        self._position += 1
        self._counts[token] = self._counts.get(token, 0) + 1
        if self._words is not None:
            self._words.accept(token)
        if self.grammar is not None and token not in self.end_tokens:
            self.grammar.accept(token)

    def is_over(self, token: int) -> bool:
        """Whether generation stops after this token: an end token, a stop token, or a completed
        grammar."""
        if self.grammar is not None and self.grammar.is_complete:
            return True
        if token in self.stop_tokens and self._position > self.min_tokens:
            return True
        # An end that is ignored is chosen only where a grammar allows nothing else.
        return token in self.end_tokens and (not self.ignore_end or self.grammar is not None)

    def logprob(
        self, logits: Logits, token: int, token_bytes: Callable[[int], bytes]
    ) -> TokenLogprob | None:
        """Log-probability under the model itself; None if the request does not want it."""
        wanted = self.params.top_logprobs
        if wanted is None:
            return None
        return token_logprob(logits, token, wanted, token_bytes)

    def _adjusted(self, logits: Logits, forbidden: frozenset[int]) -> Logits:
        params = self.params
        adjusted = logits.copy()
        if self._bias_ids.size:
            adjusted[self._bias_ids] += self._bias
        self._penalise(adjusted, params)
        if self._words is not None:
            forbidden = forbidden.union(self._words.forbidden())
        if self.grammar is None:
            adjusted[list(forbidden)] = -np.inf
            return adjusted
        allowed = self.grammar.allowed()
        if forbidden:
            others = allowed.copy()
            others[list(forbidden)] = False
            allowed = others if others.any() else allowed  # the grammar has the last word
        np.putmask(adjusted, ~allowed, -np.inf)
        return adjusted

    def _penalise(self, logits: Logits, params: SamplingParams) -> None:
        seen = np.fromiter(self._counts, np.intp, len(self._counts))
        if params.repetition_penalty != 1.0:
            ids = np.union1d(self._prompt_ids, seen).astype(np.intp)
            values = logits[ids]
            penalty = np.float32(params.repetition_penalty)
            logits[ids] = np.where(values > 0, values / penalty, values * penalty)
        if seen.size and (params.frequency_penalty or params.presence_penalty):
            counts = np.fromiter(self._counts.values(), np.float32, seen.size)
            logits[seen] -= params.frequency_penalty * counts + params.presence_penalty


def exponential_noise(seed: int, position: int, tokens: Ids) -> NDArray[np.float64]:
    """One exponentially distributed number a token, a hash of all three."""
    bits = tokens.astype(np.uint32) * np.uint32(0x9E3779B1)
    bits += np.uint32(_mix(seed + _mix(position)) >> 32)
    bits ^= bits >> np.uint32(16)
    bits *= np.uint32(0x85EBCA6B)
    bits ^= bits >> np.uint32(13)
    bits *= np.uint32(0xC2B2AE35)
    bits ^= bits >> np.uint32(16)
    noise: NDArray[np.float64] = -np.log((bits + 0.5) * 2.0**-32)
    return noise


def _mix(value: int) -> int:
    """splitmix64 of a Python integer."""
    bits = (value + _GOLDEN) & _MASK
    bits = ((bits ^ (bits >> 30)) * _MIX_1) & _MASK
    bits = ((bits ^ (bits >> 27)) * _MIX_2) & _MASK
    return bits ^ (bits >> 31)


def candidates(weights: Weights, params: SamplingParams) -> Ids:
    """The tokens that min_p, top_k and top_p leave; the largest of the weights is 1."""
    if params.min_p > 0.0:
        tokens = np.flatnonzero(weights >= params.min_p)
    else:
        tokens = np.arange(len(weights))
    if 0 < params.top_k < len(tokens):
        tokens = tokens[largest(weights[tokens], params.top_k)]
    if params.top_p < 1.0:
        tokens = tokens[_nucleus(weights[tokens], params.top_p)]
    return tokens


def _nucleus(weights: Weights, top_p: float) -> Ids:
    """The fewest of the likeliest that weigh top_p of the whole together; at least one."""
    total = float(weights.sum(dtype=np.float64))
    # What lies below this weighs less than 1 - top_p in all, so none of it can be in the nucleus:
    # only the rest, a few hundred of a vocabulary, has to be sorted.
    likely = np.flatnonzero(weights >= (1.0 - top_p) * total / len(weights))
    order = likely[np.argsort(-weights[likely], kind="stable")]
    cumulative = np.cumsum(weights[order], dtype=np.float64)
    return order[: int(np.searchsorted(cumulative, top_p * total, "left")) + 1]
