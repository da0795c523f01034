"""Chat requests → generations on the bundled engine: model check, prompt, grammar, submission."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from roost_inference.errors import UnknownModel
from roost_inference.http.generation import (
    CompletedAnswer,
    EngineGeneration,
    Generation,
    LoopNotifier,
)
from roost_inference.http.ids import completion_id
from roost_inference.http.metrics import EngineMetrics
from roost_inference.http.report import report
from roost_inference.http.wire import ChatCall, SessionOrder
from roost_inference.kv.hit_rate_bound import Ceiling, Trail
from roost_inference.kv.session_control import SessionDesk
from roost_inference.prompt.chat_template import ChatTemplate
from roost_inference.prompt.exact_tokens import Answer, SessionMemory, section_of
from roost_inference.prompt.tools import CALL_CLOSE, CALL_OPEN, Markers, build_grammar
from roost_inference.request import EnginePort, EngineSession, Event, FinishEvent, Request


class Responder(Protocol):
    """What stands behind the HTTP face: the bundled engine, or a script in tests."""

    def models(self) -> list[dict[str, Any]]: ...

    async def respond(self, call: ChatCall, body: Mapping[str, Any]) -> Generation:
        """Accept a request, `body` is its JSON as sent. Raises EngineError; nothing runs then."""
        ...

    def health(self) -> tuple[int, dict[str, Any]]:
        """HTTP status and body."""
        ...

    def sessions(self, limit: int | None = None) -> list[dict[str, Any]]:
        """What is known of the `limit` latest sessions, or of all; may block."""
        ...

    def session(self, session_id: str, action: str, order: SessionOrder) -> dict[str, Any]:
        """`action` is pin, prefetch, offload or close; may block."""
        ...

    def metrics(self) -> bytes: ...


class EngineResponder:
    """The Responder of an EnginePort."""

    def __init__(self, engine: EnginePort) -> None:
        self.engine = engine
        info = engine.model
        self._template = ChatTemplate(
            info.chat_template,
            bos=info.bos,
            eos=info.eos,
            tokenize=lambda text, special: engine.tokenize(text, special=special),
        )
        self._markers = Markers(self._single_token(CALL_OPEN), self._single_token(CALL_CLOSE))
        self.memory = SessionMemory()
        self._ceiling = Ceiling()
        self._metrics = EngineMetrics(engine, self.memory, self._ceiling)
        self._notifier: LoopNotifier | None = None

    def models(self) -> list[dict[str, Any]]:
        info = self.engine.model
        return [
            {
                "id": info.name,
                "object": "model",
                "created": 0,
                "owned_by": "roost",
                "max_model_len": info.context_length,
                "supports_tools": True,
                "build": info.build,
            }
        ]

    async def respond(self, call: ChatCall, body: Mapping[str, Any]) -> Generation:
        name = self.engine.model.name
        if call.model and call.model != name:
            raise UnknownModel(
                f"The model {call.model!r} does not exist; this engine runs {name!r}",
                param="model",
            )
        # Off the event loop: templates, tokens and grammars take milliseconds that streams feel.
        request, figures = await asyncio.to_thread(self._request, call)
        trail = Trail()
        generation = EngineGeneration(
            self.engine,
            request,
            notifier=self._notifier_of_this_loop(),
            parse_calls=bool(call.functions) and call.tool_choice != "none",
            observe=self._observe,
            remember=partial(self._remember, request, trail, len(call.messages)),
            figures=figures,
        )
        await asyncio.to_thread(self._submit, generation, request, trail)
        return generation

    def _submit(self, generation: EngineGeneration, request: Request, trail: Trail) -> None:
        generation.submit()
        self._ceiling.prompt(trail, request.session.cache_salt, request.prompt_tokens)

    def _notifier_of_this_loop(self) -> LoopNotifier:
        if self._notifier is None or self._notifier.loop is not asyncio.get_running_loop():
            self._notifier = LoopNotifier()
        return self._notifier

    def _request(self, call: ChatCall) -> tuple[Request, dict[str, object]]:
        """The request, and what is known about it before it runs, for the answer's metrics."""
        grammar = build_grammar(call, self._markers)
        session = EngineSession(call.session_id, call.cache_salt or "")
        prompt = self._template.render(call, partial(self.memory.recall, session))
        figures: dict[str, object] = {}
        if session.session_id is not None:
            divergence = self.memory.compare(
                session,
                prompt.tokens,
                lambda token: section_of(prompt.text, call.messages, self._count, token),
            )
            if divergence is not None:
                figures["divergence"] = divergence.report()
        room = self.engine.model.context_length - len(prompt.tokens)
        wanted = call.wanted_tokens
        # Without room the engine says so itself, with both numbers.
        request = Request(
            id=completion_id(),
            prompt_tokens=prompt.tokens,
            max_tokens=max(room if wanted is None else min(wanted, room), 1),
            sampling=call.sampling(),
            stop=tuple(call.stop or ()),
            grammar=grammar,
            session=session,
            tenant=call.tenant,
            priority=call.priority or 0,
            ignore_eos=bool(call.ignore_eos),
            kv=call.kv_policy(),
        )
        return request, figures

    def _count(self, text: str) -> int:
        return len(self.engine.tokenize(text, special=True))

    def _remember(
        self, request: Request, trail: Trail, place: int, written: CompletedAnswer
    ) -> None:
        self._ceiling.answer(trail, written.tokens, written.cached_tokens)
        if written.whole:
            answer = Answer(written.text, written.tokens)
            self.memory.remember(request.session, place, written.content, written.calls, answer)
        if request.session.session_id is not None:
            self.memory.left(request.session, request.prompt_tokens, list(written.tokens))

    def _observe(self, event: Event) -> None:
        if isinstance(event, FinishEvent):
            self._metrics.finished(event)

    def _single_token(self, text: str) -> int | None:
        tokens = self.engine.tokenize(text, special=True)
        return tokens[0] if len(tokens) == 1 else None

    def health(self) -> tuple[int, dict[str, Any]]:
        failure = getattr(self.engine, "failure", None)
        if failure is not None:
            return 503, {"status": "failed", "reason": str(failure)}
        store = getattr(self.engine, "store", None)
        figures = report(self.engine.stats(), store, self.memory, self._ceiling)
        return 200, {"status": "ok", "model": self.engine.model.name, **figures}

    def sessions(self, limit: int | None = None) -> list[dict[str, Any]]:
        """What the engine remembers of sessions, and where they last parted from themselves."""
        desk = self._desk
        if desk is None:
            return []
        return [
            {**session, "divergence": self.memory.last_divergence(session["id"])}
            for session in desk.listing(limit)
        ]

    def session(self, session_id: str, action: str, order: SessionOrder) -> dict[str, Any]:
        """Pin, prefetch, offload or close a session. Raises InvalidRequest, EngineUnavailable."""
        desk = self._desk
        if action == "close":
            self.memory.close(session_id)
        if desk is None:
            return {"id": session_id, "known": False}
        if action == "pin":
            return desk.pin(session_id, order.reason, order.ttl_s, order.cache_salt)
        if action == "prefetch":
            return desk.prefetch(session_id, order.cache_salt)
        if action == "offload":
            return desk.offload(session_id, order.cache_salt)
        return desk.close(session_id, order.cache_salt)

    @property
    def _desk(self) -> SessionDesk | None:
        return getattr(self.engine, "desk", None)

    def metrics(self) -> bytes:
        return self._metrics.text()
