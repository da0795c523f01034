"""Whatever goes wrong at the other engine: the rest is computed, and the answer is the same."""

import asyncio
import threading
from typing import Any

import pytest

from roost_inference.kv.handover import fetches, offers
from roost_inference.testing.handover_side import TEXT, Side, side, text_of, told, until


async def test_an_expired_lease_costs_one_question(decode: Side) -> None:
    async with side(lease_s=0.05) as prefill:
        offer = await prefill.offer()
        await until(lambda: prefill.leases()[0] == 0)
        answer = await decode.ask(TEXT, offer)
        assert told(answer) == {"tokens": 0, "ms": told(answer)["ms"], "failure": "lease_ended"}
        assert prefill.leases() == (0, {"expired": 1})


async def test_two_readers_of_one_lease_both_answer(prefill: Side, decode: Side) -> None:
    offer = await prefill.offer()
    async with side() as second:
        answers = await asyncio.gather(decode.ask(TEXT, offer), second.ask(TEXT, offer))
        assert text_of(answers[0]) == text_of(answers[1])
    await until(lambda: prefill.leases() == (0, {"done": 1}))


async def test_a_peer_with_another_key_is_refused_and_the_answer_comes(prefill: Side) -> None:
    async with side(key="another") as decode:
        answer = await decode.ask(TEXT, await prefill.offer())
        assert told(answer)["failure"] == "refused"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"remote_port": 1}, "unreachable"),
        ({"remote_host": "10.1.2.3"}, "peer_not_allowed"),
        ({"remote_request_id": "kv-unknown"}, "unknown_lease"),
        ({"remote_socket": "/var/run/docker.sock", "remote_port": 1}, "unreachable"),
    ],
)
async def test_an_offer_that_leads_nowhere_costs_nothing_but_time(
    prefill: Side, decode: Side, change: dict[str, Any], reason: str
) -> None:
    offer = {**await prefill.offer(), **change}
    answer = await decode.ask(TEXT, offer)
    assert told(answer)["failure"] == reason
    assert text_of(answer) == text_of(await prefill.ask(TEXT))


async def test_a_peer_that_hangs_is_given_up(decode: Side, prefill: Side) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    answer = await decode.ask(TEXT, {**await prefill.offer(), "remote_port": port})
    assert told(answer)["failure"] == "silent"
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("sent", [b"", b"\0" * 8, b"\xff" * 8, (2**20).to_bytes(8, "little")])
async def test_a_peer_that_sends_nonsense_is_given_up(
    decode: Side, prefill: Side, sent: bytes
) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n" + sent)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    answer = await decode.ask(TEXT, {**await prefill.offer(), "remote_port": port})
    assert told(answer)["failure"] in ("bad_answer", "cut_off", "missing")
    assert told(answer)["tokens"] == 0
    server.close()
    await server.wait_closed()


async def test_a_damaged_block_ends_the_fetch_before_it(
    prefill: Side, decode: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = await prefill.offer()
    original, count = offers.Offers.stored_form, 0

    def damaged(self: Any, id: str, node: Any) -> Any:
        nonlocal count
        head, payload = original(self, id, node) or (b"", memoryview(b""))
        count += 1
        data = bytearray(payload)
        data[-1] ^= count == 2
        return head, memoryview(data)

    monkeypatch.setattr(offers.Offers, "stored_form", damaged)
    answer = await decode.ask(TEXT, offer)
    assert told(answer)["tokens"] == 128 and told(answer)["failure"] == "bad_block"


async def test_a_transfer_that_takes_too_long_is_not_waited_for(
    prefill: Side, decode: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetches, "WAIT_S_MIN", 0.2)
    monkeypatch.setattr(fetches, "WAIT_S_MAX", 0.2)
    offer = await prefill.offer()
    original, go_on = offers.Offers.stored_form, threading.Event()

    def slow(self: Any, id: str, node: Any) -> Any:
        go_on.wait(20)
        return original(self, id, node)

    monkeypatch.setattr(offers.Offers, "stored_form", slow)
    answer = await decode.ask(TEXT, offer)
    assert told(answer)["tokens"] == 0 and told(answer)["failure"] == "too_slow"
    go_on.set()
    await until(lambda: prefill.leases()[0] == 0)
