"""A web page can't use the engine's port, a stranger only with its key and the session's salt."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from roost_inference.client.engine_client import EngineClient
from roost_inference.client.sessions import EngineSession, EngineSessions
from roost_inference.config import EngineConfig
from roost_inference.errors import NoSessions, UnknownSession
from roost_inference.http.listener import listening
from roost_inference.http.routes import HINT_BYTES_MAX
from roost_inference.server import build_server
from roost_inference.testing.harness import toy_engine, toy_store
from roost_inference.testing.puppet import PuppetEngine
from roost_inference.testing.toy import ToyBackend

CHAT = "/v1/chat/completions"
EVIL = "https://evil.example"
BODY = '{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}'
PATHS = ("/health", "/metrics", "/v1/models", "/v1/sessions")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": EVIL, "content-type": "text/plain"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"host": "evil.example"},
        {"host": "evil.example:8421", "origin": "http://evil.example:8421"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "192.168.1.7"},
        {"host": ""},
        {"host": "["},
        {"host": "evil@localhost"},
        {"host": "localhost?x"},
        {"host": "[::1"},
    ],
)
async def test_a_simple_request_of_a_page_does_nothing(
    http: httpx2.AsyncClient, puppet: PuppetEngine, headers: dict[str, str]
) -> None:
    reply = await http.post(CHAT, content=BODY, headers=headers)
    assert reply.status_code in (400, 403)
    for path in ("/v1/sessions/s/pin", "/v1/sessions/s/offload"):
        assert (await http.post(path, content="{}", headers=headers)).status_code in (400, 403)
    assert not puppet.requests


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_page_of_another_site_reads_nothing(http: httpx2.AsyncClient, site: str) -> None:
    for path in PATHS:
        assert (await http.get(path, headers={"sec-fetch-site": site})).status_code == 403


async def test_a_rebound_name_reads_nothing(http: httpx2.AsyncClient) -> None:
    for path in PATHS:
        reply = await http.get(path, headers={"host": "rebound.example"})
        assert reply.status_code == 403 and "host_not_allowed" in reply.text


async def test_programs_and_our_own_names_are_served(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    puppet.answer = "ok"
    for host in ("localhost", "LOCALHOST.:80", "[::1]:8421", "127.0.0.1"):
        assert (await http.get("/v1/models", headers={"host": host})).status_code == 200
    own = f"http://127.0.0.1:{http.base_url.port}"
    assert (await http.post(CHAT, content=BODY, headers={"origin": own})).status_code == 200


async def test_configured_names_are_known_and_an_engine_on_every_address_knows_addresses(
    puppet: PuppetEngine,
) -> None:
    config = EngineConfig(host="0.0.0.0", allowed_hosts=("engine",))
    known = {"engine:8421": 200, "10.0.0.7:8421": 200, "other": 403, "0.0.0.0.evil.example": 403}
    async with (
        listening(build_server(puppet, config)) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        for host, status in known.items():
            assert (await http.get("/health", headers={"host": host})).status_code == status


async def test_with_a_key_everything_but_health_and_metrics_asks_for_it(
    puppet: PuppetEngine,
) -> None:
    config = EngineConfig.model_validate({"api_key": "right"})
    async with (
        listening(build_server(puppet, config)) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/metrics")).status_code == 200
        for sent in ({}, {"authorization": "Bearer wrong"}, {"authorization": "right"}):
            for path in ("/v1/models", "/v1/sessions", "/health/", "/", "/docs", "/V1/models"):
                reply = await http.get(path, headers=sent)
                assert reply.status_code == 401, (path, sent)
            assert (await http.post(CHAT, content=BODY, headers=sent)).status_code == 401
        right = {"authorization": "bearer right"}
        assert (await http.get("/v1/models", headers=right)).status_code == 200
    assert not puppet.requests


async def test_the_body_of_an_order_is_small(http: httpx2.AsyncClient) -> None:
    padded = '{"reason": "tool"' + " " * HINT_BYTES_MAX + "}"
    assert (await http.post("/v1/sessions/s/pin", content=padded)).status_code == 413


@pytest.fixture
async def toy() -> AsyncIterator[httpx2.AsyncClient]:
    """A running engine in which session `s` of the salt `mine` has had a turn."""
    engine = toy_engine(ToyBackend(cells=4096), store=toy_store())
    engine.start()
    try:
        async with (
            listening(build_server(engine)) as url,
            httpx2.AsyncClient(base_url=url, timeout=20, trust_env=False) as http,
        ):
            message = {"role": "user", "content": "a long enough question " * 10}
            told = {"session_id": "s", "cache_salt": "mine", "max_tokens": 8, "ignore_eos": True}
            reply = await http.post(CHAT, json={"messages": [message], **told})
            assert reply.status_code == 200
            yield http
    finally:
        engine.close()


ORDERS = (
    ("POST", "/v1/sessions/s/pin"),
    ("POST", "/v1/sessions/s/prefetch"),
    ("POST", "/v1/sessions/s/offload"),
    ("DELETE", "/v1/sessions/s"),
)


@pytest.mark.parametrize("salt", [{}, {"cache_salt": ""}, {"cache_salt": "yours"}])
async def test_orders_without_the_session_s_salt_find_no_session(
    toy: httpx2.AsyncClient, salt: dict[str, str]
) -> None:
    before = (await toy.get("/v1/sessions")).json()["data"]
    for method, path in ORDERS:
        reply = await toy.request(method, path, json=salt)
        assert reply.status_code == 404, path
        assert reply.json()["error"]["code"] == "session_not_found"
    after = (await toy.get("/v1/sessions")).json()["data"]
    assert [{**s, "idle_s": 0} for s in after] == [{**s, "idle_s": 0} for s in before]


async def test_orders_with_the_salt_are_carried_out(toy: httpx2.AsyncClient) -> None:
    for method, path in ORDERS:
        reply = await toy.request(method, path, json={"cache_salt": "mine"})
        assert reply.status_code == 200, (path, reply.text)
    assert (await toy.get("/v1/sessions")).json()["data"] == []


async def test_the_listing_tells_neither_salts_nor_texts(toy: httpx2.AsyncClient) -> None:
    text = (await toy.get("/v1/sessions")).text
    assert '"id":"s"' in text and "mine" not in text and "question" not in text


async def test_the_client_tells_a_session_that_is_unknown_from_an_engine_without_any(
    toy: httpx2.AsyncClient,
) -> None:
    client = EngineClient(str(toy.base_url))
    sessions = EngineSessions(client)
    with pytest.raises(UnknownSession) as caught:
        await sessions.pin(EngineSession("s", "yours"), "tool", 5)
    assert not isinstance(caught.value, NoSessions)
    await sessions.pin(EngineSession("s", "mine"), "tool", 5)
    await client.close()
