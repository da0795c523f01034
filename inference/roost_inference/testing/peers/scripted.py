"""For tests: engines that hand KV over by a script, as objects on any clock; app.py serves them.

A token is a word. Nothing is computed; reading takes `ms_per_token`, by `sleep`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from roost_inference.client.routing.facts import CachedTokens, EngineSummary, Handover
from roost_inference.errors import EngineError, EngineUnavailable
from roost_inference.testing.scripts import text_of

LEASE_S = 9.0
# Where an engine may die, in the order in which a request comes there.
STEPS = (
    "before the offer",
    "after the offer",
    "while it is fetched",
    "before the first token",
    "in the stream",
    "before the release",
)


@dataclass(eq=False)
class ScriptedPeer:
    """One engine; as an object it is the router's Control of itself.

    peers: engines by their ids, which a decode engine fetches from. at: is told of each step, and
    may kill. cached: tokens by text. leases: until when each is kept, by the loop's clock. told:
    what it was asked, in order. is_foreign: it tells no figures, as other engines. computed,
    fetched: tokens so far.
    """

    name: str
    role: str = "both"
    compat: str = "same"
    ms_per_token: float = 1.0
    bytes_per_token: int = 1000
    fetch_ms_per_token: float | None = None
    lease_s: float = LEASE_S
    refuses: EngineError | None = None
    peers: dict[str, "ScriptedPeer"] = field(default_factory=dict)
    at: Callable[[str, "ScriptedPeer"], None] = lambda step, engine: None
    cached: dict[str, int] = field(default_factory=dict)
    leases: dict[str, float] = field(default_factory=dict)
    known_sessions: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    running: int = 0
    computed: int = 0
    fetched: int = 0
    is_down: bool = False
    is_foreign: bool = False
    _life: int = 0

    def die(self) -> None:
        """Lose all that is in memory, and answer nobody."""
        self.is_down = True
        self._life += 1
        self.leases.clear()
        self.cached.clear()

    def revive(self) -> None:
        """Answer again."""
        self.is_down = False

    def live_leases(self) -> int:
        """Leases that have not run out."""
        now = asyncio.get_running_loop().time()
        return sum(until > now for until in self.leases.values())

    async def close(self) -> None:
        """See Control."""

    async def summary(self) -> EngineSummary | None:
        """See Control."""
        self._begin("summary")
        if self.is_foreign:
            return None
        return EngineSummary(
            engine_id=self.name,
            role=self.role,
            compat=self.compat,
            block_tokens=16,
            bytes_per_token=self.bytes_per_token,
            running=self.running,
            ms_per_token=self.ms_per_token,
            fetch_ms_per_token=self.fetch_ms_per_token,
            leases=self.live_leases(),
        )

    async def sessions(self) -> list[str]:
        """See Control."""
        self._begin("sessions")
        return list(self.known_sessions)

    async def lookup(self, body: Mapping[str, Any], session_id: str | None) -> CachedTokens:
        """See Control."""
        self._begin("lookup")
        text = prompt_text(body)
        return CachedTokens(self._cached(text), len(text.split()))

    async def prefill(self, body: Mapping[str, Any]) -> Handover:
        """See Control."""
        life = self._begin("prefill")
        text = prompt_text(body)
        tokens = await self._read(text, life)
        self.at("before the offer", self)
        self._check(life)
        request_id = f"{self.name}-{len(self.told)}"
        self.leases[request_id] = asyncio.get_running_loop().time() + self.lease_s
        params = {
            "do_remote_prefill": True,
            "remote_engine_id": self.name,
            "remote_request_id": request_id,
            "remote_num_tokens": tokens,
            "compat": self.compat,
            "lease_s": self.lease_s,
        }
        self.at("after the offer", self)
        return Handover(request_id, self.lease_s, tokens, params)

    async def renew(self, request_id: str) -> bool:
        """See Control."""
        self._begin("renew")
        now = asyncio.get_running_loop().time()
        is_open = self.leases.get(request_id, 0.0) > now
        if is_open:
            self.leases[request_id] = now + self.lease_s
        return is_open

    async def release(self, request_id: str) -> None:
        """See Control."""
        self._begin("release")
        self.leases.pop(request_id, None)

    async def fetch(self, request_id: str) -> int:
        """What a decode engine asks for: tokens of the lease. Raises EngineUnavailable."""
        life = self._begin("fetch")
        if self.leases.get(request_id, 0.0) <= asyncio.get_running_loop().time():
            raise EngineUnavailable("There is no such lease")
        await asyncio.sleep(0.005)
        self.at("while it is fetched", self)
        self._check(life)
        return 1

    async def answer(
        self, body: Mapping[str, Any], params: Mapping[str, Any]
    ) -> AsyncGenerator[str, None]:
        """The words of the answer, which only the prompt decides. Raises EngineError."""
        life = self._begin("answer")
        if self.refuses is not None:
            raise self.refuses
        self.running += 1
        try:
            text = prompt_text(body)
            if params:
                await self._take(text, params, life)
            await self._read(text, life)
            self.at("before the first token", self)
            for word in answer_to(text).split():
                self._check(life)
                yield f"{word} "
                await asyncio.sleep(0.01)
                self.at("in the stream", self)
            self._check(life)
        finally:
            self.running -= 1

    async def _take(self, text: str, params: Mapping[str, Any], life: int) -> None:
        """Fetch what is offered and say so; what fails is computed afterwards."""
        peer = self.peers.get(str(params["remote_engine_id"]))
        request_id = str(params["remote_request_id"])
        if peer is None:
            return
        try:
            if params["compat"] == self.compat:
                await peer.fetch(request_id)
                self._check(life)
                self.cached[text] = len(text.split()) - 1
                self.fetched += len(text.split()) - 1
            self.at("before the release", self)
            self._check(life)
            await peer.release(request_id)
        except EngineUnavailable:
            self._check(life)

    async def _read(self, text: str, life: int) -> int:
        tokens = len(text.split())
        missing = tokens - self._cached(text)
        await asyncio.sleep(missing * self.ms_per_token / 1000)
        self._check(life)
        self.computed += missing
        self.cached[text] = tokens
        return tokens

    def _cached(self, text: str) -> int:
        return max((n for known, n in self.cached.items() if text.startswith(known)), default=0)

    def _begin(self, what: str) -> int:
        self._check(self._life)
        self.told.append(what)
        return self._life

    def _check(self, life: int) -> None:
        if self.is_down or life != self._life:
            raise EngineUnavailable(f"{self.name} is dead")


def prompt_text(body: Mapping[str, Any]) -> str:
    """The whole prompt."""
    return " ".join(text_of(message) for message in body["messages"])


def answer_to(text: str) -> str:
    """What every engine answers to this prompt."""
    return f"You said {len(text.split())} words, the last one {text.split()[-1]}"
