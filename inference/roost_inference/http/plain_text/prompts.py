"""Prompts of plain text as tokens, and what is generated for each of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from roost_inference.errors import InvalidRequest, PromptTooLong
from roost_inference.http.answer.engine_generation import SEEDS, EngineGeneration
from roost_inference.http.engine_port import EnginePort
from roost_inference.http.generation import LoopNotifier
from roost_inference.http.plain_text.answers import PlainAnswers
from roost_inference.prompt.template_options import length_limit, truncated
from roost_inference.request import EngineSession, Listener, Request
from roost_inference.wire.completion_call import CompletionCall, Prompt
from roost_inference.wire.ids import text_completion_id
from roost_inference.wire.prompt_options import PromptOptions


class PlainTexts:
    """Texts and tokens of one engine's model; thread-safe."""

    def __init__(self, engine: EnginePort) -> None:
        self._engine = engine

    def tokens(
        self, prompt: Prompt, options: PromptOptions, check: Callable[[], None]
    ) -> list[int]:
        """The tokens of a prompt, cut as the request wants. Raises InvalidRequest for a prompt
        without tokens, PromptTooLong for one that can't fit the context."""
        check()
        context = self._engine.model.context_length
        if isinstance(prompt, str):
            limit = length_limit(options, context)
            least = self._engine.tokens_at_least(prompt)
            if least >= limit:
                raise PromptTooLong(
                    f"The prompt has at least {least} tokens; the model's context of {context} "
                    "tokens must also hold the answer",
                    param="prompt",
                )
            tokens = self.with_bos(prompt, is_wanted=options.add_special_tokens is not False)
        else:
            tokens = list(prompt)
            size = self._engine.model.vocabulary_size
            if not 0 <= min(tokens) <= max(tokens) < size:
                raise InvalidRequest(f"A prompt token is not below {size}", param="prompt")
        if not tokens:
            raise InvalidRequest("The prompt is empty", param="prompt")
        return truncated(tokens, options, context)

    def with_bos(self, text: str, *, is_wanted: bool) -> list[int]:
        """The tokens of a text; control tokens that it spells count as such. BOS comes first where
        it is wanted, the model's texts begin with it, and this one does not yet."""
        model = self._engine.model
        if is_wanted and model.adds_bos and not text.startswith(model.bos):
            text = model.bos + text
        return self._engine.tokenize(text, special=True)

    def answers(
        self,
        call: CompletionCall,
        requests: Sequence[Request],
        notifier: LoopNotifier,
        observe: Listener,
    ) -> PlainAnswers:
        """What becomes of a request for each prompt; nothing is asked of the engine yet."""
        fields = call.fields
        generations = [
            EngineGeneration(
                self._engine,
                request,
                notifier=notifier,
                choices=fields.n,
                tells_tokens=call.wants_running_usage,
                observe=observe,
            )
            for request in requests_of(requests, fields.n)
        ]
        echoed = [self.text(one.prompt_tokens) if fields.echo else "" for one in requests]
        starts = [self._engine.spelling(one.prompt_tokens[0]) for one in requests]
        return PlainAnswers(text_completion_id(), generations, echoed, starts, fields.n)

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        return b"".join(map(self._engine.spelling, tokens)).decode("utf-8", "replace")


def requests_of(requests: Sequence[Request], n: int) -> list[Request]:
    """The requests of several prompts, with seeds so far apart that no choice shares one. Several
    choices belong to no session: one sequence at a time goes on with it."""
    if len(requests) * n == 1:
        return list(requests)
    return [_apart(request, number * n) for number, request in enumerate(requests)]


def _apart(request: Request, distance: int) -> Request:
    seed = request.sampling.seed
    sampling = replace(request.sampling, seed=None if seed is None else (seed + distance) % SEEDS)
    return replace(
        request, sampling=sampling, session=EngineSession(None, request.session.cache_salt)
    )
