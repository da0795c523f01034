"""Checks a request before it may queue, and builds its sequence."""

import itertools
import threading
from functools import partial

from roost_inference.backend import Vocabulary, spelled
from roost_inference.errors import InvalidRequest, PromptTooLong
from roost_inference.output.detokenizer import TextStream
from roost_inference.output.grammar import Grammar, GrammarCompiler
from roost_inference.output.logprobs import PROMPT_LOGPROBS_TOKENS_MAX, PromptLogprobs
from roost_inference.output.sampler import Sampler
from roost_inference.request import Listener, Request
from roost_inference.sequence import Sequence, TokenBuffer


class SequenceBuilder:
    """Runs on the caller's thread; thread-safe."""

    def __init__(self, vocabulary: Vocabulary, context_length: int) -> None:
        self._vocabulary = vocabulary
        self._context_length = context_length
        self._orders = itertools.count()
        self._grammars: GrammarCompiler | None = None
        self._lock = threading.Lock()

    def build(self, request: Request, listener: Listener, now: float) -> Sequence:
        """The sequence of a request, ready to queue.

        Raises InvalidRequest, PromptTooLong, BadGrammar."""
        self._validate(request)
        tokens = TokenBuffer(request.prompt_tokens)
        sampler = Sampler(
            request.sampling,
            tokens.view,
            self._vocabulary.end_tokens,
            self._grammar(request.grammar),
            request.ignore_eos,
            request.stop_tokens,
            request.min_tokens,
        )
        text = TextStream(
            self._vocabulary.token_bytes,
            request.stop,
            includes_stop=request.includes_stop,
            searched_after=request.min_tokens,
        )
        silent = self._vocabulary.end_tokens
        if request.stop_tokens and not request.includes_stop:
            silent |= request.stop_tokens
        length_max = min(len(tokens) + request.max_tokens, self._context_length)
        order = next(self._orders)
        return Sequence(
            request,
            listener,
            now,
            order,
            sampler,
            text,
            tokens,
            length_max,
            silent,
            self._prompt_logprobs(request, tokens),
        )

    def _prompt_logprobs(self, request: Request, tokens: TokenBuffer) -> PromptLogprobs | None:
        wanted = request.prompt_logprobs
        if wanted is None:
            return None
        if len(tokens) > PROMPT_LOGPROBS_TOKENS_MAX:
            raise InvalidRequest(
                f"The prompt has {len(tokens)} tokens; logprobs of a prompt are told up to "
                f"{PROMPT_LOGPROBS_TOKENS_MAX}",
                param="prompt_logprobs",
            )
        # Control tokens of a prompt are told as they are written, as an echo tells them.
        texts = partial(spelled, self._vocabulary)
        return PromptLogprobs(tokens.view.copy(), wanted, texts)

    def _validate(self, request: Request) -> None:
        length, limit = len(request.prompt_tokens), self._context_length
        if length == 0:
            raise InvalidRequest("The prompt is empty", param="messages")
        if length >= limit:
            raise PromptTooLong(
                f"The prompt has {length} tokens; the model's context of {limit} tokens must "
                "also hold the answer",
                param="messages",
            )
        if request.max_tokens < 1:
            raise InvalidRequest("max_tokens must be at least 1", param="max_tokens")
        size = self._vocabulary.size
        if not 0 <= min(request.prompt_tokens) <= max(request.prompt_tokens) < size:
            raise InvalidRequest(f"A prompt token is not below {size}", param="messages")
        if any(not 0 <= token < size for token in request.sampling.logit_bias):
            raise InvalidRequest(f"A biased token is not below {size}", param="logit_bias")
        if any(not 0 <= token < size for token in request.stop_tokens):
            raise InvalidRequest(f"A stop token is not below {size}", param="stop_token_ids")
        if request.min_tokens > request.max_tokens:
            raise InvalidRequest("min_tokens is larger than max_tokens", param="min_tokens")
        if not all(request.stop):
            raise InvalidRequest("A stop string is empty", param="stop")

    def _grammar(self, text: str | None) -> Grammar | None:
        if text is None:
            return None
        with self._lock:
            if self._grammars is None:
                tokenizer = self._vocabulary.grammar_tokenizer()
                self._grammars = GrammarCompiler(tokenizer, self._vocabulary.size)
        return self._grammars.compile(text)
