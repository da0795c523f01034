"""For tests: an engine that follows a script instead of a model, behind the same HTTP routes.

As a process `python -m roost_inference.testing.scripted --port N`, which prints `ready`; as a
fixture `async with ScriptedEngine() as engine`. Directives in messages: scripts.py.
"""

import argparse
import asyncio
import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Self

from roost_inference.config import EngineConfig
from roost_inference.errors import EngineFailed, EngineUnavailable, InvalidRequest, QueueFull
from roost_inference.http.generation import Finished, Piece, TextPiece
from roost_inference.http.listener import SignalServer, bind, listening, url_of
from roost_inference.http.plain_text.answers import PlainAnswers
from roost_inference.http.preparation import Preparation
from roost_inference.http.routes import ServiceHolder, build_app
from roost_inference.http.service_port import ChatService
from roost_inference.prompt.call_markup import ParsedCall
from roost_inference.request import Timings, Usage
from roost_inference.testing.scripts import Call, Drop, Fail, Hang, Say, Step, plan, text_of
from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.completion_call import CompletionCall
from roost_inference.wire.fields import RequestWarning
from roost_inference.wire.ids import call_id, completion_id
from roost_inference.wire.session_hint import SessionHint

MODEL = "scripted"
REQUESTS_KEPT = 10_000
CHUNK_CHARACTERS = 200

Match = str | Callable[[Mapping[str, Any]], bool]


class ConnectionDropped(Exception):
    """Raised through the server to break the connection in mid-stream, as a crash would."""


class ScriptedEngine:
    """Answers by rules, else by the directives in the last user message.

    requests: bodies as received, with the header's session_id, oldest first. running: answers
    being written. aborted: answers whose client left. `when(match, *steps)` adds a rule; match
    is a substring of the last user message or a predicate over the request's body; the newest
    matching rule counts. opening: the tag of a reasoning block that its template opens.
    """

    def __init__(self, *, model: str = MODEL, api_key: str = "", opening: str = "") -> None:
        self.model = model
        self.opening = opening
        self.requests: list[Mapping[str, Any]] = []
        self.orders: list[tuple[str, str, str]] = []
        self.running = 0
        self.aborted = 0
        self.base_url = ""
        config = EngineConfig.model_validate({"api_key": api_key})
        self.app = build_app(ServiceHolder(_ScriptedService(self)), config)
        self._rules: list[tuple[Match, tuple[Step, ...], int | None]] = []
        self._uses: Counter[int] = Counter()
        self._faults: Counter[str] = Counter()
        self._stack = contextlib.AsyncExitStack()

    def when(self, match: Match, *steps: Step, times: int | None = None) -> None:
        """Answer requests that match with these steps, `times` times or always. What follows a
        run of Calls is the next answer of the same turn, after their results."""
        self._rules.append((match, steps, times))

    def steps(self, body: Mapping[str, Any]) -> Sequence[Step]:
        """The steps for a request."""
        messages = [m for m in body.get("messages", ()) if isinstance(m, dict)]
        last = next((text_of(m) for m in reversed(messages) if m.get("role") == "user"), "")
        for number, (match, steps, times) in reversed(list(enumerate(self._rules))):
            used_up = times is not None and self._uses[number] >= times
            hit = match in last if isinstance(match, str) else match(body)
            if hit and not used_up:
                self._uses[number] += 1
                return plan(messages, steps)
        return plan(messages)

    def is_due(self, fault: Fail | Drop, body: Mapping[str, Any]) -> bool:
        """Whether a fault with a limit happens once more for this message."""
        if fault.times is None:
            return True
        key = f"{type(fault).__name__} {body.get('messages')}"
        self._faults[key] += 1
        return self._faults[key] <= fault.times

    async def __aenter__(self) -> Self:
        self.base_url = await self._stack.enter_async_context(listening(self.app))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()


class _ScriptedService(ChatService):
    def __init__(self, engine: ScriptedEngine) -> None:
        self._engine = engine
        self._lock = threading.Lock()

    def models(self) -> list[dict[str, Any]]:
        return [
            {"id": self._engine.model, "object": "model", "created": 0, "owned_by": "roost"},
        ]

    def prepare(
        self, call: ChatCall, body: Mapping[str, Any], preparation: Preparation
    ) -> "_ScriptedGeneration":
        engine = self._engine
        if (call.n or 1) > 1:
            raise InvalidRequest("A script gives one choice a request; n must be 1", param="n")
        with self._lock:  # requests are prepared on several threads
            engine.requests.append({**body, "session_id": call.session_id})
            del engine.requests[:-REQUESTS_KEPT]
            steps = [
                step
                for step in engine.steps(body)
                if not isinstance(step, (Fail, Drop)) or engine.is_due(step, body)
            ]
        for step in steps:
            if isinstance(step, Fail):
                raise _failure(step.status)
        return _ScriptedGeneration(engine, steps, body)

    def complete(self, call: CompletionCall, preparation: Preparation) -> PlainAnswers:
        raise InvalidRequest("The scripted engine answers chats only")

    def warnings(self, call: ChatCall) -> Sequence[RequestWarning]:
        return ()

    def spelling(self, token: int) -> bytes:
        raise InvalidRequest("The scripted engine has no vocabulary", param="tokens")

    def tokenize(
        self, call: ChatCall | str, preparation: Preparation, *, adds_special: bool = False
    ) -> list[int]:
        texts = [call] if isinstance(call, str) else [m.content or "" for m in call.messages]
        return list(range(sum(len(text.split()) for text in texts)))

    def health(self) -> tuple[int, dict[str, Any]]:
        return 200, {
            "status": "ok",
            "model": self._engine.model,
            "running": self._engine.running,
            "waiting": 0,
            "cells_used": 0,
            "cells_total": 0,
            "prompt_tokens_total": 0,
            "cached_tokens_total": 0,
            "completion_tokens_total": 0,
            "ttft_ms": {"p50": None, "p95": None},
            "itl_ms": {"p50": None, "p95": None},
            "tokens_per_second": 0.0,
        }

    def sessions(self, limit: int | None = None) -> list[dict[str, Any]]:
        return []

    def session(self, session_id: str, action: str, hint: SessionHint) -> dict[str, Any]:
        self._engine.orders.append((session_id, action, hint.reason))
        del self._engine.orders[:-REQUESTS_KEPT]
        return {"id": session_id}

    def metrics(self) -> bytes:
        running = self._engine.running
        return f'vllm:num_requests_running{{model_name="{MODEL}"}} {running}\n'.encode()


def _failure(status: int) -> EngineFailed | EngineUnavailable | InvalidRequest | QueueFull:
    message = f"The script says {status}"
    if status == 429:
        return QueueFull(message)
    if status == 503:
        return EngineUnavailable(message)
    error = InvalidRequest(message) if status < 500 else EngineFailed(message)
    error.http_status = status
    return error


class _ScriptedGeneration:
    """One answer by steps. A token is a word."""

    def __init__(
        self, engine: ScriptedEngine, steps: Sequence[Step], body: Mapping[str, Any]
    ) -> None:
        self.id = completion_id()
        self.model = self.build = engine.model
        self.opening = engine.opening
        self.prompt_tokens: Sequence[int] = ()
        self._engine = engine
        self._steps = steps
        self._body = body
        self._finished = False
        self._words = 0
        self._stopped: str | None = None

    def cancel(self) -> None:
        """Nothing to do: the server cancels `pieces`, and nothing else computes."""

    async def pieces(self) -> AsyncGenerator[list[Piece], None]:
        started = time.monotonic()
        self._engine.running += 1
        try:
            calls = 0
            for step in self._steps:
                if isinstance(step, Call):
                    calls += 1
                    yield [ParsedCall(call_id(), step.name, step.arguments)]
                    continue
                async for piece in self._text(step):
                    yield [piece]
                if self._stopped is not None:
                    break
            prompt = sum(
                len(text_of(m).split()) for m in self._body["messages"] if isinstance(m, dict)
            )
            total_s = time.monotonic() - started
            self._finished = True
            yield [
                Finished(
                    "tool_calls" if calls else "stop",
                    Usage(prompt, 0, self._words),
                    Timings(0.0, 0.0, total_s),
                    stop_reason=self._stopped,
                )
            ]
        finally:
            self._engine.running -= 1
            self._engine.aborted += not self._finished

    async def _text(self, step: Step) -> AsyncGenerator[TextPiece, None]:
        if isinstance(step, Hang):
            await asyncio.Event().wait()
        if isinstance(step, Drop):
            self._finished = True
            yield TextPiece("This answer will be ")
            # Let the text reach the client before the connection goes.
            await asyncio.sleep(0.02)
            raise ConnectionDropped
        assert isinstance(step, Say), step
        if step.per_second is None:
            text = self._until_stop(step.text)
            self._words += len(text.split())
            for start in range(0, len(text), CHUNK_CHARACTERS):
                yield TextPiece(text[start : start + CHUNK_CHARACTERS])
            return
        for number, word in enumerate(step.text.split(" ")):
            self._words += 1
            yield TextPiece(word if number == 0 else f" {word}")
            await asyncio.sleep(1 / step.per_second)

    def _until_stop(self, text: str) -> str:
        """The text up to the first of the request's stop strings."""
        stops = self._body.get("stop") or ()
        found = [
            (text.index(stop), stop)
            for stop in ([stops] if isinstance(stops, str) else stops)
            if stop in text
        ]
        if not found:
            return text
        end, self._stopped = min(found)
        return text[:end]


def main() -> int:
    """Serve a scripted engine until a signal; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m roost_inference.testing.scripted")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    options = parser.parse_args()
    listener = bind("127.0.0.1", options.port)
    print(f"ready {url_of(listener)}", flush=True)
    SignalServer(ScriptedEngine().app, catch_signals=True).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
