"""Chat requests → generations on the bundled engine: model check, prompt, grammar, submission."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from roost_inference.errors import UnknownModel
from roost_inference.http.generation import Bell, EngineGeneration, Generation, Written
from roost_inference.http.ids import completion_id
from roost_inference.http.metrics import EngineMetrics
from roost_inference.http.preparation import Preparation
from roost_inference.http.report import report
from roost_inference.http.wire import ChatCall, SessionOrder
from roost_inference.kv.hit_rate_bound import Ceiling, Trail
from roost_inference.kv.session_control import SessionDesk
from roost_inference.prompt.chat_template import ChatTemplate
from roost_inference.prompt.exact_tokens import Answer, SessionMemory, section_of
from roost_inference.prompt.tools import CALL_CLOSE, CALL_OPEN, Markers, build_grammar
from roost_inference.request import EnginePort, Event, FinishEvent, Request


class Responder(Protocol):
    """What stands behind the HTTP face: the bundled engine, or a script in tests."""

    def models(self) -> list[dict[str, Any]]: ...

    async def respond(
        self, call: ChatCall, body: Mapping[str, Any], preparation: Preparation
    ) -> Generation:
        """Accept a request, `body` is its JSON as sent. Raises EngineError; nothing runs then, and
        when it is cancelled."""
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
            tokens_at_least=engine.tokens_at_least,
            context_length=info.context_length,
        )
        self._markers = Markers(self._single_token(CALL_OPEN), self._single_token(CALL_CLOSE))
        self.memory = SessionMemory()
        self._ceiling = Ceiling()
        self._metrics = EngineMetrics(engine, self.memory, self._ceiling)
        self._bell: Bell | None = None

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

    async def respond(
        self, call: ChatCall, body: Mapping[str, Any], preparation: Preparation
    ) -> Generation:
        name = self.engine.model.name
        if call.model and call.model != name:
            raise UnknownModel(
                f"The model {call.model!r} does not exist; this engine runs {name!r}",
                param="model",
            )
        # Off the event loop: templates, tokens and grammars take milliseconds that streams feel.
        return await preparation.run(
            partial(self._begin, call, self._bell_of_this_loop(), preparation.check),
            undo=EngineGeneration.cancel,
        )

    def _begin(self, call: ChatCall, bell: Bell, check: Callable[[], None]) -> EngineGeneration:
        """Make the request and hand it to the engine. Takes the caller's time."""
        request, figures = self._request(call, check)
        trail = Trail()
        generation = EngineGeneration(
            self.engine,
            request,
            bell=bell,
            parse_calls=bool(call.functions) and call.tool_choice != "none",
            observe=self._observe,
            remember=partial(self._remember, request, trail, len(call.messages)),
            figures=figures,
        )
        check()
        generation.submit()
        self._ceiling.prompt(trail, request.cache_salt, request.prompt_tokens)
        return generation

    def _bell_of_this_loop(self) -> Bell:
        if self._bell is None or self._bell.loop is not asyncio.get_running_loop():
            self._bell = Bell()
        return self._bell

    def _request(
        self, call: ChatCall, check: Callable[[], None]
    ) -> tuple[Request, dict[str, object]]:
        """The request, and what is known about it before it runs, for the answer's metrics."""
        session = (call.cache_salt or "", call.session_id or "")
        prompt = self._template.render(call, partial(self.memory.recall, session), check)
        check()
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
            session_id=call.session_id,
            cache_salt=call.cache_salt or "",
            tenant=call.tenant,
            priority=call.priority or 0,
            ignore_eos=bool(call.ignore_eos),
            kv=call.kv_policy(),
        )
        return request, figures

    def _count(self, text: str) -> int:
        return len(self.engine.tokenize(text, special=True))

    def _remember(self, request: Request, trail: Trail, place: int, written: Written) -> None:
        self._ceiling.answer(trail, written.tokens, written.cached_tokens)
        session = (request.cache_salt, request.session_id or "")
        if written.whole:
            answer = Answer(written.text, written.tokens)
            self.memory.remember(session, place, written.content, written.calls, answer)
        if request.session_id is not None:
            self.memory.left(session, request.prompt_tokens, list(written.tokens))

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
        return desk.listing(limit, lambda key: {"divergence": self.memory.last_divergence(key)})

    def session(self, session_id: str, action: str, order: SessionOrder) -> dict[str, Any]:
        """Pin, prefetch, offload or close the session of this id and of the order's cache_salt.
        Raises UnknownSession where that is not its salt, InvalidRequest, EngineUnavailable."""
        desk, salt = self._desk, order.cache_salt or ""
        if action == "close":
            self.memory.close((salt, session_id))
        if desk is None:
            return {"id": session_id, "known": False}
        if action == "pin":
            return desk.pin(session_id, order.reason, order.ttl_s, salt)
        if action == "prefetch":
            return desk.prefetch(session_id, salt)
        if action == "offload":
            return desk.offload(session_id, salt)
        return desk.close(session_id, salt)

    @property
    def _desk(self) -> SessionDesk | None:
        return getattr(self.engine, "desk", None)

    def metrics(self) -> bytes:
        return self._metrics.text()
