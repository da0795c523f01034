"""Chat requests → generations on an engine: model check, prompt, grammar, submission."""

import asyncio
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from roost_inference.client.reasoning import open_block
from roost_inference.errors import InvalidRequest, UnknownModel
from roost_inference.http.engine_port import EnginePort
from roost_inference.http.generation import (
    CompletedAnswer,
    EngineGeneration,
    Generation,
    LoopNotifier,
)
from roost_inference.http.metrics import EngineMetrics
from roost_inference.http.preparation import Preparation
from roost_inference.http.report import energy, kernels, report
from roost_inference.kv.hit_rate_bound import ChainPosition, HitRateBound
from roost_inference.kv.tiers.placement import Place, select_tiers
from roost_inference.profiles.background import BackgroundValidation
from roost_inference.profiles.energy import EnergyMeter
from roost_inference.prompt.chat_template import ChatTemplate
from roost_inference.prompt.exact_tokens import GeneratedAnswer, SessionMemory, section_of
from roost_inference.prompt.tools import CALL_CLOSE, CALL_OPEN, Markers, build_grammar
from roost_inference.request import EngineSession, Event, FinishEvent, KvPolicy, Request
from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.ids import completion_id
from roost_inference.wire.session_hint import SessionHint


class ChatService(Protocol):
    """What the HTTP routes serve: an engine, or a script in tests."""

    def models(self) -> list[dict[str, Any]]:
        """The models served, as entries of /v1/models."""
        ...

    def prepare(
        self, call: ChatCall, body: Mapping[str, Any], preparation: Preparation
    ) -> Generation:
        """Accept a request; `body` is its JSON as sent. Runs on a thread of the preparation.

        Calls `preparation.check` before each long piece of work. Raises EngineError; nothing is
        computed then.
        """
        ...

    def tokenize(self, call: ChatCall | str, preparation: Preparation) -> list[int]:
        """The tokens of a request's prompt, or of a text. Runs on a thread of the preparation."""
        ...

    def health(self) -> tuple[int, dict[str, Any]]:
        """HTTP status and body of /health."""
        ...

    def sessions(self, limit: int | None = None) -> list[dict[str, Any]]:
        """What is known of the `limit` latest sessions, or of all; may block."""
        ...

    def session(self, session_id: str, action: str, hint: SessionHint) -> dict[str, Any]:
        """Do the `action` (pin, prefetch, offload or close) with a session; may block."""
        ...

    def metrics(self) -> bytes:
        """Prometheus' text format."""
        ...


class EngineChatService:
    """The ChatService of an EnginePort."""

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
        self._markers = Markers(self._single_token(CALL_OPEN), self._single_token(CALL_CLOSE))
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
                "supports_tools": True,
                "opens_reasoning": self._template.opening or None,
                "build": info.build,
            }
        ]

    def prepare(
        self, call: ChatCall, body: Mapping[str, Any], preparation: Preparation
    ) -> EngineGeneration:
        """Make the prompt and the grammar, and hand the request to the engine. Raises UnknownModel,
        InvalidRequest, PromptTooLong, BadGrammar, QueueFull, EngineUnavailable."""
        name = self.engine.model.name
        if call.model and call.model != name:
            raise UnknownModel(
                f"The model {call.model!r} does not exist; this engine runs {name!r}",
                param="model",
            )
        request, figures, opening = self._request(call, preparation)
        position = ChainPosition()
        generation = EngineGeneration(
            self.engine,
            request,
            notifier=self._notifier_of(preparation.loop),
            parse_calls=bool(call.functions) and call.tool_choice != "none",
            observe=self._observe,
            remember=partial(self._remember, request, position, len(call.messages)),
            figures=figures,
            opening=opening,
        )
        preparation.check()
        generation.submit()
        self._bound.prompt(position, request.session.cache_salt, request.prompt_tokens)
        return generation

    def tokenize(self, call: ChatCall | str, preparation: Preparation) -> list[int]:
        """The tokens of a request's prompt, as `prepare` makes it for a new conversation, or of a
        text. Raises InvalidRequest, PromptTooLong."""
        if isinstance(call, str):
            return self.engine.tokenize(call, special=True)
        return list(self._template.render(call, check=preparation.check).tokens)

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
        kv = self._kv_policy(call)
        session = EngineSession(call.session_id, call.cache_salt or "")
        recall = partial(self.memory.recall, session)
        prompt = self._template.render(call, recall, preparation.check)
        preparation.check()
        grammar = build_grammar(call, self._markers)
        figures: dict[str, object] = {}
        if call.session_id is not None and len(prompt.tokens) < self.engine.model.context_length:
            divergence = self.memory.compare(
                session,
                prompt.tokens,
                lambda token: section_of(prompt.text, call.messages, self._count, token),
            )
            if divergence is not None:
                figures["divergence"] = divergence.report()
        left = self.engine.model.context_length - len(prompt.tokens)
        wanted = call.wanted_tokens
        # Where no token is left, the engine refuses the request and says both numbers.
        request = Request(
            id=completion_id(),
            prompt_tokens=prompt.tokens,
            max_tokens=max(left if wanted is None else min(wanted, left), 1),
            sampling=call.sampling(),
            stop=tuple(call.stop or ()),
            grammar=grammar,
            session=session,
            tenant=call.tenant,
            priority=call.priority or 0,
            ignore_eos=bool(call.ignore_eos),
            kv=kv,
        )
        # A grammar that begins with something else leaves no place for reasoning.
        return request, figures, open_block(prompt.text) if call.begins_freely else ""

    def _kv_policy(self, call: ChatCall) -> KvPolicy:
        """The bounds of paging. Raises InvalidRequest for a tier that does not exist."""
        params = call.kv_transfer_params
        if params is None:
            return KvPolicy()
        tiers: frozenset[str] | None = None
        if params.kv_load_tiers is not None:
            wanted = [
                tier if isinstance(tier, str) else Place(tier.medium, tier.locality)
                for tier in params.kv_load_tiers
            ]
            try:
                tiers = select_tiers(wanted, self.engine.tiers)
            except ValueError as error:
                param = "kv_transfer_params.kv_load_tiers"
                raise InvalidRequest(f"{param}: {error}", param=param) from error
        return KvPolicy(params.max_offload_tokens, params.max_load_tokens, tiers)

    def _count(self, text: str) -> int:
        return len(self.engine.tokenize(text, special=True))

    def _remember(
        self, request: Request, position: ChainPosition, place: int, answer: CompletedAnswer
    ) -> None:
        self._bound.answer(position, answer.tokens, answer.cached_tokens)
        session = request.session
        if answer.whole:
            generated = GeneratedAnswer(answer.text, answer.tokens)
            self.memory.remember(session, place, answer.content, answer.calls, generated)
        if session.session_id is not None:
            self.memory.end_turn(session, request.prompt_tokens, list(answer.tokens))

    def _observe(self, event: Event) -> None:
        if isinstance(event, FinishEvent):
            self._metrics.finished(event)

    def _single_token(self, text: str) -> int | None:
        tokens = self.engine.tokenize(text, special=True)
        return tokens[0] if len(tokens) == 1 else None

    def health(self) -> tuple[int, dict[str, Any]]:
        """503 with the reason once the engine has given up, else 200 with its figures."""
        failure = self.engine.failure
        if failure is not None:
            return 503, {"status": "failed", "reason": failure}
        stats = self.engine.stats()
        figures = report(stats, self.engine.store, self.memory, self._bound)
        figures["energy"] = energy(stats, self._energy.joules())
        figures["profile"] = {} if self.validation is None else self.validation.report()
        figures["kernels"] = kernels(self.engine.model)
        return 200, {"status": "ok", "model": self.engine.model.name, **figures}

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
