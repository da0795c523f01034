"""Chat requests → generations on an engine: model check, prompt, grammar, submission."""

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from roost_inference.client.reasoning import open_block
from roost_inference.errors import UnknownModel
from roost_inference.http.answer.engine_generation import EngineGeneration
from roost_inference.http.engine_port import EnginePort
from roost_inference.http.generation import CompletedAnswer, LoopNotifier
from roost_inference.http.handover.policy import kv_policy, stored_of
from roost_inference.http.metrics import EngineMetrics
from roost_inference.http.plain_text.answers import PlainAnswers
from roost_inference.http.plain_text.prompts import PlainTexts
from roost_inference.http.preparation import Preparation
from roost_inference.http.report import energy, kernels, report
from roost_inference.kv.hit_rate_bound import ChainPosition, HitRateBound
from roost_inference.output.bad_words import sequences_of
from roost_inference.profiles.background import BackgroundValidation
from roost_inference.profiles.energy import EnergyMeter
from roost_inference.prompt.chat_template import ChatTemplate
from roost_inference.prompt.exact_tokens import GeneratedAnswer, SessionMemory, section_of
from roost_inference.prompt.tools import build_grammar, parser_of, unheeded_formats
from roost_inference.request import (
    EngineSession,
    Event,
    FinishEvent,
    Request,
    SamplingParams,
)
from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.completion_call import CompletionCall
from roost_inference.wire.fields import RequestWarning
from roost_inference.wire.ids import completion_id
from roost_inference.wire.session_hint import SessionHint

log = logging.getLogger(__name__)


class EngineChatService:
    """The ChatService of an EnginePort; see there."""

    def __init__(self, engine: EnginePort, energy: EnergyMeter | None = None) -> None:
        self.engine = engine
        self._energy = energy or EnergyMeter()
        self.validation: BackgroundValidation | None = None
        info = engine.model
        self._template = ChatTemplate(
            info.chat_template,
            bos=info.bos,
            eos=info.eos,
            tokenize=lambda text, special: engine.tokenize(text, special=special),
            tokens_at_least=engine.tokens_at_least,
            context_length=info.context_length,
        )
        self._plain = PlainTexts(engine)
        if not self._template.exists:
            log.warning("the model has no chat template: it answers completions, and no chats")
        self._family = self._template.family
        self._markers = self._family.markup.markers(engine.tokenize)
        self.memory = SessionMemory()
        self._bound = HitRateBound()
        self._metrics = EngineMetrics(engine, self.memory, self._bound)
        self._notifier: LoopNotifier | None = None
        self._notifier_lock = threading.Lock()

    def models(self) -> list[dict[str, Any]]:
        """The one model of the engine."""
        info = self.engine.model
        return [
            {
                "id": info.name,
                "object": "model",
                "created": 0,
                "owned_by": "roost",
                "max_model_len": info.context_length,
                "supports_tools": self._template.exists,
                "has_chat_template": self._template.exists,
                "opens_reasoning": self._template.opening or None,
                "build": info.build,
            }
        ]

    def prepare(
        self, call: ChatCall, body: Mapping[str, Any], preparation: Preparation
    ) -> EngineGeneration:
        """Make the prompt and the grammar, and hand the request to the engine. Raises UnknownModel,
        InvalidRequest, PromptTooLong, BadGrammar, QueueFull, EngineUnavailable."""
        self._check_model(call.model)
        request, figures, opening = self._request(call, preparation)
        choices = call.n or 1
        positions = [ChainPosition() for _ in range(choices)]
        generation = EngineGeneration(
            self.engine,
            request,
            notifier=self._notifier_of(preparation.loop),
            new_parser=parser_of(call, self._family.markup),
            choices=choices,
            tells_tokens=bool(call.return_token_ids) or call.wants_running_usage,
            observe=self._observe,
            remember=partial(self._remember, request, positions, call),
            figures=figures,
            opening=opening,
        )
        preparation.check()
        generation.submit()
        for position in positions:
            self._bound.prompt(position, request.session.cache_salt, request.prompt_tokens)
        return generation

    def complete(self, call: CompletionCall, preparation: Preparation) -> PlainAnswers:
        """Hand one request for each choice of each prompt to the engine. Raises what `prepare`
        does; nothing is computed then."""
        settings = call.settings
        self._check_model(settings.model)
        grammar = build_grammar(settings, self._markers)
        prompts = [
            self._plain.tokens(one, settings, preparation.check) for one in call.fields.prompts
        ]
        answers = self._plain.answers(
            call,
            [self._engine_request(settings, tokens, grammar) for tokens in prompts],
            self._notifier_of(preparation.loop),
            self._observe,
        )
        answers.submit(preparation.check)
        for tokens in prompts:
            for _ in range(call.fields.n):
                self._bound.prompt(ChainPosition(), settings.cache_salt or "", tokens)
        return answers

    def tokenize(
        self, call: ChatCall | str, preparation: Preparation, *, adds_special: bool = False
    ) -> list[int]:
        """The tokens of a request's prompt, as `prepare` makes it for a new conversation, or of a
        text. Raises InvalidRequest, PromptTooLong."""
        if isinstance(call, str):
            return self._plain.with_bos(call, is_wanted=adds_special)
        return list(self._template.render(call, check=preparation.check).tokens)

    def cached_tokens(self, call: ChatCall, preparation: Preparation) -> tuple[int, int]:
        """How many tokens of a request's prompt are stored here, and how many it has."""
        session = EngineSession(call.session_id, call.cache_salt or "")
        recall = partial(self.memory.recall, session)
        tokens = self._template.render(call, recall, preparation.check).tokens
        return stored_of(self.engine.store, session, tokens), len(tokens)

    def spelling(self, token: int) -> bytes:
        """See ChatService."""
        return self.engine.spelling(token)

    def warnings(self, call: ChatCall) -> Sequence[RequestWarning]:
        """See ChatService."""
        return [*self._template.unheeded(call), *unheeded_formats(call)]

    def _check_model(self, model: str | None) -> None:
        name = self.engine.model.name
        if model and model != name:
            raise UnknownModel(
                f"The model {model!r} does not exist; this engine runs {name!r}", param="model"
            )

    def _notifier_of(self, loop: asyncio.AbstractEventLoop) -> LoopNotifier:
        """One notifier for all readers of an event loop: a step wakes the loop once for all."""
        with self._notifier_lock:
            if self._notifier is None or self._notifier.loop is not loop:
                self._notifier = LoopNotifier(loop)
            return self._notifier

    def _request(
        self, call: ChatCall, preparation: Preparation
    ) -> tuple[Request, dict[str, object], str]:
        """The request, what is known about it before it runs, for the answer's metrics, and the
        tag of the reasoning block that its prompt opens."""
        session = EngineSession(call.session_id, call.cache_salt or "")
        recall = partial(self.memory.recall, session)
        prompt = self._template.render(call, recall, preparation.check)
        preparation.check()
        grammar = build_grammar(call, self._markers, self._family.markup)
        figures: dict[str, object] = {}
        if call.session_id is not None and len(prompt.tokens) < self.engine.model.context_length:
            divergence = self.memory.compare(
                session,
                prompt.tokens,
                lambda token: section_of(prompt.text, call.messages, self._count, token),
                call.messages,
            )
            if divergence is not None:
                figures["divergence"] = divergence.report()
        request = self._engine_request(call, prompt.tokens, grammar)
        # A grammar that begins with something else leaves no place for reasoning.
        return request, figures, open_block(prompt.text) if call.begins_freely else ""

    def _engine_request(self, call: ChatCall, tokens: list[int], grammar: str | None) -> Request:
        """What the engine is asked. Where the prompt leaves no token for the answer, the engine
        refuses the request and says both numbers."""
        left, wanted = self.engine.model.context_length - len(tokens), call.wanted_tokens
        return Request(
            id=completion_id(),
            prompt_tokens=tokens,
            max_tokens=max(left if wanted is None else min(wanted, left), 1),
            sampling=self._sampling(call),
            stop=tuple(call.stop or ()),
            stop_tokens=frozenset(call.stop_token_ids or ()),
            includes_stop=bool(call.include_stop_str_in_output),
            min_tokens=call.min_tokens or 0,
            grammar=grammar,
            session=EngineSession(call.session_id, call.cache_salt or ""),
            tenant=call.tenant,
            priority=call.priority or 0,
            ignore_eos=bool(call.ignore_eos),
            prompt_logprobs=call.prompt_logprobs,
            kv=kv_policy(call.kv_transfer_params, self.engine.tiers),
        )

    def _sampling(self, call: ChatCall) -> SamplingParams:
        if not call.bad_words:
            return call.sampling()
        tokenize = partial(self.engine.tokenize, special=False)
        return replace(call.sampling(), bad_words=sequences_of(call.bad_words, tokenize))

    def _count(self, text: str) -> int:
        return len(self.engine.tokenize(text, special=True))

    def _remember(
        self,
        request: Request,
        positions: Sequence[ChainPosition],
        call: ChatCall,
        answer: CompletedAnswer,
    ) -> None:
        session, place = request.session, len(call.messages)
        family = self._family
        if answer.whole and (family.splices_calls if answer.calls else family.splices):
            generated = GeneratedAnswer(answer.text, answer.tokens)
            self.memory.remember(session, place, answer.content, answer.calls, generated)
        self._bound.answer(positions[answer.choice], answer.tokens, answer.cached_tokens)
        if session.session_id is not None:
            # Of several choices the client may go on with any: all that is sure is the prompt.
            written = list(answer.tokens) if len(positions) == 1 else []
            self.memory.end_turn(session, request.prompt_tokens, written, call.messages)

    def _observe(self, event: Event) -> None:
        if isinstance(event, FinishEvent):
            self._metrics.finished(event)

    def health(self) -> tuple[int, dict[str, Any]]:
        """503 with the reason once the engine has given up, else 200 with its figures."""
        failure = self.engine.failure
        if failure is not None:
            return 503, {"status": "failed", "reason": failure}
        stats, model = self.engine.stats(), self.engine.model
        figures = report(stats, self.engine.store, self.memory, self._bound)
        figures["energy"] = energy(stats, self._energy.joules())
        figures["profile"] = {} if self.validation is None else self.validation.report()
        figures["kernels"] = kernels(model)
        handover = self.engine.handover
        figures["handover"] = {} if handover is None else handover.report()
        template = "model" if self._template.exists else "none"
        about = {"chat_template": template, "model_kind": model.kind.report()}
        return 200, {"status": "ok", "model": model.name, **about, **figures}

    def sessions(self, limit: int | None = None) -> list[dict[str, Any]]:
        """What the engine remembers of sessions, and where their last prompts diverged."""
        return self.engine.session_control.listing(
            limit, lambda session: {"divergence": self.memory.last_divergence(session)}
        )

    def session(self, session_id: str, action: str, hint: SessionHint) -> dict[str, Any]:
        """Pin, prefetch, offload or close the session of this id and of the hint's cache_salt.
        Raises UnknownSession where that is not its salt, InvalidRequest, EngineUnavailable."""
        control = self.engine.session_control
        session = EngineSession(session_id, hint.cache_salt or "")
        if action == "pin":
            return control.pin(session, hint.reason, hint.ttl_s)
        if action == "prefetch":
            return control.prefetch(session)
        if action == "offload":
            return control.offload(session)
        self.memory.close(session)
        return control.close(session)

    def metrics(self) -> bytes:
        """The engine's figures in Prometheus' text format."""
        return self._metrics.text()
