"""For tests: a toy engine behind HTTP that hands KV over, on its own thread."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx2

from roost_inference.config import EngineConfig
from roost_inference.engine import Engine
from roost_inference.http.chat_service import EngineChatService
from roost_inference.http.handover.service import HandoverService
from roost_inference.http.listener import listening
from roost_inference.http.routes import ServiceHolder, build_app
from roost_inference.kv.handover.handover import Handover, HandoverSettings
from roost_inference.kv.handover.offers import Address
from roost_inference.kv.handover.transports import PeerAccess
from roost_inference.kv.store import BlockStore
from roost_inference.scheduling.cost import Measurement, StepCost
from roost_inference.testing.harness import toy_engine
from roost_inference.testing.toy import ToyBackend

KEY = "secret"
TEXT = "two engines share one story, and neither of them reads it twice. " * 6


async def until(holds: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait until it holds; TimeoutError if it does not come to it."""
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.005)


@dataclass
class Side:
    """A toy engine on its own thread, and a client of its port."""

    engine: Engine
    http: httpx2.AsyncClient
    backend: ToyBackend

    @property
    def handover(self) -> Handover:
        """Its part of the hand-over."""
        assert self.engine.handover is not None
        return self.engine.handover

    async def post(
        self, text: str = TEXT, transfer: dict[str, Any] | None = None, **fields: Any
    ) -> httpx2.Response:
        """A chat of one message."""
        body: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
        body |= {"max_tokens": 6, "temperature": 0, "ignore_eos": True, **fields}
        if transfer is not None:
            body["kv_transfer_params"] = transfer
        return await self.http.post("/v1/chat/completions", json=body)

    async def ask(self, *args: Any, **fields: Any) -> Any:
        """The JSON of its answer."""
        response = await self.post(*args, **fields)
        assert response.status_code == 200, response.text
        return response.json()

    async def offer(self, text: str = TEXT, **fields: Any) -> dict[str, Any]:
        """Have the prompt computed, and what the engine offers of it."""
        fields.setdefault("max_tokens", 1)
        answer = await self.ask(text, {"do_remote_decode": True}, **fields)
        params: dict[str, Any] = answer["kv_transfer_params"]
        return params

    def leases(self) -> tuple[int, dict[str, int]]:
        """How many are open, and how many have ended by state."""
        return self.handover.offers.open(), self.handover.offers.ended()


@contextlib.asynccontextmanager
async def side(identity: str = "toy", key: str = KEY, **settings: Any) -> AsyncIterator[Side]:
    """A running engine. identity: of its KV; settings: of the hand-over."""
    backend = ToyBackend(cells=4096, identity=identity)
    store = BlockStore(identity, 2**24)
    access = PeerAccess(key, frozenset())
    engine = toy_engine(
        backend,
        clock=time.monotonic,
        store=store,
        # Computing is dear, so that loading pays on a busy machine as well.
        cost=StepCost([Measurement(1, 0, 50.0), Measurement(128, 0, 6400.0)]),
        handover=HandoverSettings(access=access, **settings),
    )
    engine.start()
    service = EngineChatService(engine)
    holder = ServiceHolder(service, handover=HandoverService(engine, service))
    app = build_app(holder, EngineConfig.model_validate({"api_key": key}))
    try:
        async with listening(app) as url:
            assert engine.handover is not None
            engine.handover.offers.address = Address(port=int(url.rsplit(":", 1)[1]))
            headers = {"authorization": f"Bearer {key}"}
            async with httpx2.AsyncClient(
                base_url=url, timeout=30, trust_env=False, headers=headers
            ) as http:
                yield Side(engine, http, backend)
    finally:
        engine.close()


def told(answer: Any) -> dict[str, Any]:
    """What an answer's metrics say of the hand-over."""
    report: dict[str, Any] = answer["metrics"]["kv"]["handover"]
    return report


def text_of(answer: Any) -> str:
    """The text of an answer."""
    text: str = answer["choices"][0]["message"]["content"]
    return text
