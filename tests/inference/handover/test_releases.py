"""Leases are released on every way out, bounded, and read by nobody else."""

import asyncio
import threading
from typing import Any

import httpx2
import pytest

from roost_inference.kv.handover import offers
from roost_inference.testing.peers.handover_side import TEXT, Side, side, until


async def test_a_prompt_that_is_too_long_releases_what_was_offered(
    prefill: Side, decode: Side
) -> None:
    offer = await prefill.offer()
    response = await decode.post(TEXT * 20, offer)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"
    await until(lambda: prefill.leases() == (0, {"released": 1}))
    assert decode.handover.figures.failures == {"rejected": 1}


async def test_a_request_that_is_refused_releases_what_was_offered(
    prefill: Side, decode: Side
) -> None:
    offer = await prefill.offer()
    assert (await decode.post(TEXT, offer, temperature=9)).status_code == 400
    await until(lambda: prefill.leases() == (0, {"released": 1}))


async def test_a_body_that_is_no_json_is_refused_and_harms_nothing(
    decode: Side, caplog: pytest.LogCaptureFixture
) -> None:
    response = await decode.http.post("/v1/chat/completions", content=b'{"remote_request_id":')
    assert response.status_code == 400
    assert (await decode.ask("Hello."))["choices"]
    assert "failed" not in caplog.text


async def test_a_client_that_leaves_in_the_transfer_releases(
    prefill: Side, decode: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = await prefill.offer()
    original, reached, go_on = offers.Offers.stored_form, threading.Event(), threading.Event()

    def slow(self: Any, id: str, node: Any) -> Any:
        reached.set()
        go_on.wait(20)
        return original(self, id, node)

    monkeypatch.setattr(offers.Offers, "stored_form", slow)
    asking = asyncio.ensure_future(decode.post(TEXT, offer, stream=True))
    await until(reached.is_set)
    asking.cancel()
    await asyncio.wait((asking,))
    await until(lambda: not decode.engine.has_work)
    go_on.set()
    await until(lambda: prefill.leases() == (0, {"done": 1}))
    assert not decode.handover.fetches.is_reading


async def test_leases_beyond_the_bound_are_refused_in_a_word(prefill: Side) -> None:
    async with side(leases_max=1) as busy:
        await busy.offer()
        assert await busy.offer() == {"do_remote_prefill": False, "reason": "too_many_leases"}
    assert (
        await prefill.offer("Hi.")
        == {
            "do_remote_prefill": False,
            "reason": "nothing_stored",
        }
        or (await prefill.offer("Hi."))["remote_num_tokens"] < 64
    )


async def test_a_lease_is_renewed_released_and_gone(prefill: Side) -> None:
    id = (await prefill.offer())["remote_request_id"]

    async def signal(id: str, name: str) -> tuple[int, str]:
        response = await prefill.http.post(f"/v1/kv/leases/{id}/{name}")
        return response.status_code, response.json()["error"]["code"] if response.content else ""

    assert await signal(id, "renew") == (204, "")
    assert await signal(id, "release") == (204, "")
    assert await signal(id, "release") == (204, ""), "twice is no fault"
    assert await signal(id, "renew") == (410, "lease_ended")
    assert await signal("unknown", "release") == (204, "")
    assert await signal("unknown", "renew") == (404, "lease_not_found")


async def test_blocks_are_read_under_their_own_lease_alone(prefill: Side) -> None:
    offer = await prefill.offer(cache_salt="mine")
    other = await prefill.offer("Another story. " * 20, cache_salt="yours")
    store = prefill.engine.store
    assert store is not None
    keys = [key.hex() for key in store._index.nodes]

    async def read(id: str, wanted: list[str]) -> int:
        response = await prefill.http.post(f"/v1/kv/leases/{id}/blocks", json={"keys": wanted})
        return len(response.content) if response.status_code == 200 else -response.status_code

    first = keys[0]
    assert await read(offer["remote_request_id"], [first]) > 0
    assert await read(other["remote_request_id"], [first]) == 0
    assert await read("unknown", [first]) == -404
    assert await read(offer["remote_request_id"], []) == -400
    assert await read(offer["remote_request_id"], ["x" * 32]) == -400
    assert await read(offer["remote_request_id"], [first] * 65) == -400
    unsigned = httpx2.AsyncClient(base_url=prefill.http.base_url, trust_env=False)
    async with unsigned:
        for path in ("renew", "release", "blocks"):
            response = await unsigned.post(f"/v1/kv/leases/{offer['remote_request_id']}/{path}")
            assert response.status_code == 401
        assert (await unsigned.get("/v1/kv/summary")).status_code == 401


async def test_a_router_learns_what_is_stored_and_nothing_of_its_contents(prefill: Side) -> None:
    before = (await prefill.http.get("/v1/kv/summary")).json()
    assert before["role"] == "prefill" and before["kv_bytes_per_token"] is None
    offer = await prefill.offer(cache_salt="mine")
    summary = (await prefill.http.get("/v1/kv/summary")).json()
    assert summary["compat"] == offer["compat"] and summary["leases"] == 1
    assert summary["kv_bytes_per_token"] >= 8 and summary["prefill_ms_per_token"] >= 0
    messages = [{"role": "user", "content": TEXT}]

    async def cached(**body: Any) -> Any:
        return (await prefill.http.post("/v1/kv/lookup", json=body)).json()

    found = await cached(messages=messages, cache_salt="mine")
    assert found["cached_tokens"] == offer["remote_num_tokens"] == found["prompt_tokens"]
    assert (await cached(messages=messages))["cached_tokens"] == 0
    assert (await cached(tokens=[1, 2, 3]))["prompt_tokens"] == 3
    assert "error" in await cached(tokens="x")


@pytest.mark.parametrize(
    "transfer",
    [
        {"do_remote_prefill": True},
        {"do_remote_prefill": True, "do_remote_decode": True},
        {"do_remote_decode": 1},
        {"remote_request_id": "../../v1/models"},
        {"remote_port": 0},
    ],
)
async def test_params_that_make_no_sense_are_refused(
    decode: Side, transfer: dict[str, Any]
) -> None:
    response = await decode.post(TEXT, transfer)
    assert response.status_code == 400
    assert "kv_transfer_params" in response.json()["error"]["param"]


@pytest.mark.parametrize("fields", [{"stream": True}, {"n": 2}])
async def test_what_is_handed_over_is_one_whole_answer(
    prefill: Side, fields: dict[str, Any]
) -> None:
    response = await prefill.post(TEXT, {"do_remote_decode": True}, **fields)
    assert response.status_code == 400
