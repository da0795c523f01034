"""Chat requests → generations on the bundled engine: model check, prompt, grammar, submission."""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from roost_inference.chat import ChatTemplate
from roost_inference.errors import UnknownModel
from roost_inference.generation import Bell, EngineGeneration, Generation
from roost_inference.ids import completion_id
from roost_inference.metrics import EngineMetrics
from roost_inference.request import EnginePort, Event, FinishEvent, Request
from roost_inference.tools import CALL_CLOSE, CALL_OPEN, Markers, build_grammar
from roost_inference.wire import ChatCall


class Responder(Protocol):
    """What stands behind the HTTP face: the bundled engine, or a script in tests."""

    def models(self) -> list[dict[str, Any]]: ...

    async def respond(self, call: ChatCall, body: Mapping[str, Any]) -> Generation:
        """Accept a request, `body` is its JSON as sent. Raises EngineError; nothing runs then."""
        ...

    def health(self) -> tuple[int, dict[str, Any]]:
        """HTTP status and body."""
        ...

    def sessions(self) -> list[dict[str, Any]]: ...

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
        self._metrics = EngineMetrics(engine)
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

    async def respond(self, call: ChatCall, body: Mapping[str, Any]) -> Generation:
        name = self.engine.model.name
        if call.model and call.model != name:
            raise UnknownModel(
                f"The model {call.model!r} does not exist; this engine runs {name!r}",
                param="model",
            )
        # Off the event loop: templates, tokens and grammars take milliseconds that streams feel.
        request = await asyncio.to_thread(self._request, call)
        generation = EngineGeneration(
            self.engine,
            request,
            bell=self._bell_of_this_loop(),
            parse_calls=bool(call.functions) and call.tool_choice != "none",
            observe=self._observe,
        )
        await asyncio.to_thread(generation.submit)
        return generation

    def _bell_of_this_loop(self) -> Bell:
        if self._bell is None or self._bell.loop is not asyncio.get_running_loop():
            self._bell = Bell()
        return self._bell

    def _request(self, call: ChatCall) -> Request:
        grammar = build_grammar(call, self._markers)
        prompt = self._template.render(call)
        room = self.engine.model.context_length - len(prompt.tokens)
        wanted = call.wanted_tokens
        # Without room the engine says so itself, with both numbers.
        return Request(
            id=completion_id(),
            prompt_tokens=prompt.tokens,
            max_tokens=max(room if wanted is None else min(wanted, room), 1),
            sampling=call.sampling(),
            stop=tuple(call.stop or ()),
            grammar=grammar,
            session_id=call.session_id,
            cache_salt=call.cache_salt or "",
            priority=call.priority or 0,
            ignore_eos=bool(call.ignore_eos),
        )

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
        stats = self.engine.stats()
        return 200, {
            "status": "ok",
            "model": self.engine.model.name,
            "running": stats.running,
            "waiting": stats.waiting,
            "cells_used": stats.cells_used,
            "cells_total": stats.cells_total,
            "resident_sessions": stats.resident_sessions,
            "prompt_tokens_total": stats.prompt_tokens_total,
            "cached_tokens_total": stats.cached_tokens_total,
            "completion_tokens_total": stats.completion_tokens_total,
            "ttft_ms": _percentiles_ms(stats.first_token_s),
            "itl_ms": _percentiles_ms(stats.inter_token_s),
            "tokens_per_second": round(stats.tokens_per_second, 2),
        }

    def sessions(self) -> list[dict[str, Any]]:
        """Sessions with KV on the device, if the engine tells which."""
        listing = getattr(self.engine, "sessions", None)
        return [] if listing is None else [dict(session) for session in listing()]

    def metrics(self) -> bytes:
        return self._metrics.text()


def _percentiles_ms(values_s: Any) -> dict[str, float | None]:
    """Median and 95th percentile in ms, None without values."""
    ordered = sorted(values_s)
    if not ordered:
        return {"p50": None, "p95": None}
    last = len(ordered) - 1
    return {
        "p50": round(ordered[round(last * 0.5)] * 1000, 3),
        "p95": round(ordered[round(last * 0.95)] * 1000, 3),
    }
