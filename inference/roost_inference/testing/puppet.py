"""For tests of the wire: an engine whose answers the test writes, and the requests it got."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from roost_inference.errors import EngineError, InvalidRequest
from roost_inference.kv.handover.handover import Handover
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.placement import STANDARD_PLACEMENTS, TierPlacement
from roost_inference.request import (
    EngineSession,
    EngineStats,
    FinishEvent,
    FinishReason,
    Listener,
    ModelInfo,
    Request,
    TextEvent,
    Timings,
    TokenLogprob,
    Usage,
)

CHATML = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CONTROL = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")


class PuppetSessions:
    """The session control of an engine that keeps no sessions."""

    def listing(
        self,
        limit: int | None = None,
        note: Callable[[EngineSession], dict[str, Any]] = lambda session: {},
    ) -> list[dict[str, Any]]:
        """No sessions."""
        return []

    def pin(self, session: EngineSession, reason: str, ttl_s: float = 0.0) -> dict[str, Any]:
        """Pin nothing."""
        return {"id": session.session_id, "known": False}

    def prefetch(self, session: EngineSession) -> dict[str, Any]:
        """Bring nothing."""
        return {"id": session.session_id, "known": False}

    def offload(self, session: EngineSession) -> dict[str, Any]:
        """Give nothing back."""
        return {"id": session.session_id, "known": False}

    def close(self, session: EngineSession) -> dict[str, Any]:
        """Forget nothing."""
        return {"id": session.session_id, "known": False}


class PuppetEngine:
    """An EnginePort without a model. Tokens are UTF-8 bytes, control tokens count from 256.

    requests: what was submitted, by id, in order. aborted: ids in the order they were aborted.
    `refuse`, if set, is raised by the next submit.
    """

    def __init__(
        self, *, context_length: int = 4096, chat_template: str = CHATML, answer: str | None = None
    ) -> None:
        self.model = ModelInfo(
            name="puppet",
            path="",
            context_length=context_length,
            vocabulary_size=256 + len(CONTROL),
            chat_template=chat_template,
            bos="",
            eos="<|end|>",
            build="puppet",
        )
        self.requests: dict[str, Request] = {}
        self.aborted: list[str] = []
        self.refuse: EngineError | None = None
        self.answer = answer
        self.failure: str | None = None
        self.store: BlockStore | None = None
        self.handover: Handover | None = None
        self.tiers: tuple[TierPlacement, ...] = STANDARD_PLACEMENTS
        self.session_control = PuppetSessions()
        self._listeners: dict[str, Listener] = {}

    def tokens_at_least(self, text: str) -> int:
        """A lower bound: no token is longer than a control token."""
        return len(text.encode()) // max(map(len, CONTROL))

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """UTF-8 bytes, and control tokens from 256 on."""
        tokens: list[int] = []
        while text:
            name = next((c for c in CONTROL if special and text.startswith(c)), None)
            tokens += text[0].encode() if name is None else [256 + CONTROL.index(name)]
            text = text[1:] if name is None else text[len(name) :]
        return tokens

    def spelling(self, token: int) -> bytes:
        """A byte, or a control token as it is written."""
        if not 0 <= token < 256 + len(CONTROL):
            raise InvalidRequest("A token is not in the vocabulary", param="tokens")
        return bytes([token]) if token < 256 else CONTROL[token - 256].encode()

    def text_of(self, tokens: Sequence[int]) -> str:
        """The text of tokens, control tokens written as `<|user|>` and the like."""
        parts = [bytes([t]) if t < 256 else CONTROL[t - 256].encode() for t in tokens]
        return b"".join(parts).decode()

    def submit(self, request: Request, listener: Listener) -> None:
        """Take a request, or raise `refuse` once."""
        if self.refuse is not None:
            refuse, self.refuse = self.refuse, None
            raise refuse
        self.requests[request.id] = request
        self._listeners[request.id] = listener
        if self.answer is not None:
            self.say(self.answer, request.id)
            self.finish(id=request.id)

    def abort(self, request_id: str) -> None:
        """Note the abort and end the request; unknown ids are ignored."""
        if request_id in self._listeners:
            self.aborted.append(request_id)
            self.finish("abort", id=request_id)

    def say(
        self,
        text: str,
        id: str | None = None,
        logprobs: tuple[TokenLogprob, ...] = (),
        tokens: tuple[int, ...] | None = None,
    ) -> None:
        """Send text from a running request. id: None where only one runs; tokens: None for the
        text's own tokens."""
        id = id or self.running_id
        spoken = tuple(text.encode()) if tokens is None else tokens
        self._listeners[id](TextEvent(id, text, spoken, logprobs))

    def finish(
        self,
        reason: FinishReason = "stop",
        *,
        id: str | None = None,
        error: EngineError | None = None,
    ) -> None:
        """End the running request, the only one if no id is given."""
        id = id or self.running_id
        usage = Usage(len(self.requests[id].prompt_tokens), 3, 5)
        listener = self._listeners.pop(id)
        listener(FinishEvent(id, reason, usage, Timings(0.001, 0.01, 0.1), error))

    @property
    def running_id(self) -> str:
        """The id of the only running request."""
        (id,) = self._listeners
        return id

    @property
    def last(self) -> Request:
        """The request that came last."""
        return list(self.requests.values())[-1]

    async def next_request(self, timeout_s: float = 5.0) -> Request:
        """Wait for a running request."""
        async with asyncio.timeout(timeout_s):
            while not self._listeners:
                await asyncio.sleep(0.002)
        return self.requests[self.running_id]

    async def idle(self, timeout_s: float = 5.0) -> None:
        """Wait until nothing runs."""
        async with asyncio.timeout(timeout_s):
            while self._listeners:
                await asyncio.sleep(0.002)

    def stats(self) -> EngineStats:
        """Fixed figures, but for the number of running requests."""
        return EngineStats(
            running=len(self._listeners),
            waiting=0,
            cells_total=100,
            cells_used=25,
            resident_sessions=2,
            prompt_tokens_total=40,
            cached_tokens_total=10,
            completion_tokens_total=7,
            requests_total={"stop": 3, "abort": 1},
            steps_total=9,
            first_token_s=(0.01, 0.02, 0.03),
            inter_token_s=(0.001,),
            tokens_per_second=12.5,
        )
