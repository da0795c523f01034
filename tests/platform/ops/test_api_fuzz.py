"""Drawn requests to every route of the API: no 5xx, and what comes back is as OpenAPI says."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from roost_platform.db.stores import open_stores
from roost_platform.testing.api_server import ApiServer, api_server

EXAMPLES = 6  # of each route and kind; the whole takes some ten seconds of processor time
EVENTS = "/api/sessions/{name}/events"  # a stream without an end
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
BOUNDED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
TEXT = st.text(max_size=20) | st.sampled_from(["\x00", "%00", "١٢", "²", "NaN", "-0", "1e400"])
NUMBER = st.integers().map(str) | st.sampled_from([str(10**23), str(-(10**23)), str(2**63)])


@pytest.fixture(scope="module")
def server(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """The app on a thread of its own: schemathesis and hypothesis are synchronous."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "roost.db").write_bytes(sqlite_template.read_bytes())
    ready, end = threading.Event(), threading.Event()
    opened: list[ApiServer] = []

    async def serve() -> None:
        stores = open_stores(f"sqlite:///{folder / 'roost.db'}")
        async with api_server(stores, folder) as served:
            opened.append(served)
            ready.set()
            await asyncio.to_thread(end.wait)
        await stores.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(60)
    said = httpx2.post(
        f"{opened[0].url}/api/sessions/one/messages",
        json={"text": "hello"},
        headers=opened[0].as_("operator"),
    )
    assert said.status_code == 202
    yield opened[0]
    end.set()
    thread.join()


@pytest.mark.timeout(300)
def test_s12_no_request_makes_the_api_fail_and_answers_are_as_described(
    server: ApiServer,
) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/api/openapi.json")
    headers = server.as_("admin")
    routes = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert len(routes) > 10
    for route in routes:
        if route.full_path == EVENTS:
            continue
        has_inputs = bool(route.body) or any(True for _ in route.iter_parameters())
        for mode in schemathesis.GenerationMode:
            if mode is schemathesis.GenerationMode.NEGATIVE and not has_inputs:
                continue
            drawn = route.as_strategy(generation_mode=mode)

            @BOUNDED
            @given(case=drawn)
            def ask(case: Any) -> None:
                response = case.call(headers=headers)
                case.validate_response(response, checks=CHECKS)

            ask()


@pytest.mark.timeout(300)
@BOUNDED
@given(
    after=NUMBER | TEXT,
    last=NUMBER | st.sampled_from(["²", "٣", "-1", "x"]),
    inbox=TEXT,
    name=TEXT,
)
def test_odd_positions_never_make_a_stream_fail(
    server: ApiServer, after: str, last: str, inbox: str, name: str
) -> None:
    token = server.as_("operator")["Authorization"]
    headers = [(b"authorization", token.encode()), (b"last-event-id", last.encode())]
    with httpx2.Client(base_url=server.url, trust_env=False) as http:
        for session in ("one", quote(name, safe="")):
            for key, value in (("after", after), ("inbox", inbox)):
                path = f"/api/sessions/{session}/events?{key}={quote(value, safe='')}"
                with http.stream("GET", path, headers=headers) as stream:
                    assert stream.status_code < 500


@pytest.mark.parametrize(
    "body",
    [
        rb'{"text": "\ud83d"}',
        rb'{"text": "x", "agent": "\udfff"}',
        rb'{"text": "x", "event_id": "\ud800"}',
        rb'{"text": "x", "\ud83d": 1}',
        rb'{"text": "a\u0000b"}',
        b'{"text": NaN}',
        b'{"text": Infinity}',
        b'{"text": -Infinity, "x": NaN}',
        b'{"text": ' + b"9" * 5000 + b"}",
        b'{"text": 1e999}',
        b'{"text": {"a": [NaN]}}',
        b"NaN",
        b"[" * 100_000,
        b'{"text":' * 50_000,
        b"[" * 900 + b"]" * 900,
        b"\xff\xfe",
        b"",
    ],
)
@pytest.mark.parametrize("route", ["messages", "reply"])
def test_bodies_that_no_database_or_json_can_say_are_refused(
    server: ApiServer, body: bytes, route: str
) -> None:
    headers = {**server.as_("operator"), "content-type": "application/json"}
    reply = httpx2.post(
        f"{server.url}/api/sessions/one/{route}", content=body, headers=headers, trust_env=False
    )
    assert reply.status_code in (400, 422)
    assert reply.json()["detail"]


def test_deep_bodies_count_as_invalid_on_every_route(server: ApiServer) -> None:
    for path in ("sessions/one/messages", "sessions/one/reply"):
        headers = {**server.as_("viewer"), "content-type": "application/json"}
        reply = httpx2.post(f"{server.url}/api/{path}", content=b"[" * 9999, headers=headers)
        assert reply.status_code in (400, 403)
