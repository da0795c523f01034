"""Whatever goes wrong at the other engine: the rest is computed, and the answer is the same."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from roost_inference.kv.handover import fetches, offers
from roost_inference.testing.peers.handover_side import TEXT, Side, side, text_of, told, until


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


@contextlib.contextmanager
def stranger(answer: bytes | None) -> Iterator[int]:
    """The port of a peer that gives this answer to all, or none at all."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                if answer is None:
                    ended.wait(30)
                else:
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(65536)

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve)
        serving.start()
        yield int(listener.getsockname()[1])
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
    serving.join(10)


async def test_a_peer_that_hangs_is_given_up(decode: Side, prefill: Side) -> None:
    with stranger(None) as port:
        answer = await decode.ask(TEXT, {**await prefill.offer(), "remote_port": port})
        assert told(answer)["failure"] == "silent"


@pytest.mark.parametrize("sent", [b"", b"\0" * 8, b"\xff" * 8, (2**20).to_bytes(8, "little")])
@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n", b""])
async def test_a_peer_that_sends_nonsense_is_given_up(
    decode: Side, prefill: Side, head: bytes, sent: bytes
) -> None:
    with stranger(head + sent) as port:
        answer = await decode.ask(TEXT, {**await prefill.offer(), "remote_port": port})
        assert told(answer)["failure"] in ("bad_answer", "cut_off", "missing", "unreachable")
        assert told(answer)["tokens"] == 0


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
