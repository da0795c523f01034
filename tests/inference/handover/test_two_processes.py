"""Two real engines: equal texts, one token computed, and either side killed at every step."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from tests.inference.handover.conftest import WORDS, Process, Start

LEASE_S = 3.0
# Two blocks and a tail of the real tokenizer.
STORY = WORDS * 14
# Logits change by about a tenth of it with the shape of a batch and the number of threads.
NEAR = 0.5

pytestmark = pytest.mark.timeout(600)


def until(holds: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to it"
        time.sleep(0.05)


class Line:
    """A TCP line to an engine. `on_up` and `on_down` see what passes, before it does."""

    def __init__(self, engine: Process) -> None:
        self.on_up: Callable[[bytes], None] = lambda data: None
        self.on_down: Callable[[bytes, int], None] = lambda data, before: None
        self._target = ("127.0.0.1", int(str(engine.http.base_url).rstrip("/").rsplit(":", 1)[1]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, socket.socket() as far:
            try:
                far.connect(self._target)
            except OSError:
                return
            up = threading.Thread(target=self._pump, args=(near, far, True), daemon=True)
            up.start()
            self._pump(far, near, False)
            up.join(10)

    def _pump(self, source: socket.socket, target: socket.socket, is_up: bool) -> None:
        passed = 0
        try:
            while data := source.recv(65536):
                if is_up:
                    self.on_up(data)
                else:
                    self.on_down(data, passed)
                target.sendall(data)
                passed += len(data)
        except OSError:
            pass  # a side has gone
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed already

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def decoding(start: Start) -> Process:
    return start(role="decode")


@pytest.fixture(scope="module")
def prefilling(start: Start) -> Process:
    return start(role="prefill", handover_lease_s=LEASE_S)


@pytest.fixture
def line(prefilling: Process) -> Iterator[Line]:
    opened = Line(prefilling)
    yield opened
    opened.close()


def text_of(answer: dict[str, object]) -> str:
    choices = answer["choices"]
    assert isinstance(choices, list)
    return str(choices[0]["message"]["content"])


def equal_but_for_near_ties(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two greedy answers are the same, or part where two tokens are almost equally likely:
    with another number of threads the last bits differ."""
    tokens = zip(
        one["choices"][0]["logprobs"]["content"],
        other["choices"][0]["logprobs"]["content"],
        strict=False,
    )
    for ours, theirs in tokens:
        if ours["token"] != theirs["token"]:
            likely = {each["token"]: each["logprob"] for each in ours["top_logprobs"]}
            return bool(abs(likely.get(theirs["token"], -99.0) - ours["logprob"]) < NEAR)
    return True


def over(offer: dict[str, object], line: Line) -> dict[str, object]:
    """The same offer, by way of the line."""
    return {**offer, "remote_port": line.port, "remote_socket": None}


def test_texts_are_those_of_an_engine_that_had_the_prompt_in_its_cache(
    prefilling: Process, decoding: Process
) -> None:
    for number in range(3):
        text = f"{number}. {STORY} Which one leaves first?"
        offer = prefilling.offer(text)
        wanted: dict[str, Any] = {"max_tokens": 12, "logprobs": True, "top_logprobs": 5}
        answer = decoding.ask(text, offer, **wanted)
        assert equal_but_for_near_ties(answer, prefilling.ask(text, **wanted))
        told = answer["metrics"]["kv"]["handover"]
        assert told["by"] == "unix" and "failure" not in told
        # What is computed: the last token, and a tail that is too short to be moved.
        assert answer["usage"]["prompt_tokens"] - told["tokens"] <= 16
    until(lambda: prefilling.handover()["leases"] == {"open": 0, "done": 3})


def test_a_seed_gives_the_same_text_handed_over_and_read_cold(
    prefilling: Process, decoding: Process
) -> None:
    for seed in range(3):
        text = f"seed {seed}. {STORY} Which one leaves first?"
        cold = prefilling.ask(text, cache_salt="off", seed=seed, temperature=1, max_tokens=12)
        offer = prefilling.offer(text, seed=seed)
        answer = decoding.ask(text, offer, seed=seed, temperature=1, max_tokens=12)
        assert answer["metrics"]["kv"]["handover"]["tokens"] >= 128
        assert text_of(answer) == text_of(cold)


def test_tcp_serves_as_well(prefilling: Process, decoding: Process, line: Line) -> None:
    text = f"tcp {STORY}"
    answer = decoding.ask(text, over(prefilling.offer(text), line))
    told = answer["metrics"]["kv"]["handover"]
    assert told["by"] == "tcp" and told["tokens"] > 256


def test_a_decode_engine_that_is_killed_leaves_no_lease(
    prefilling: Process, start: Start, line: Line
) -> None:
    dying = start(role="decode")
    offer = prefilling.offer(f"killed {STORY}")
    reached = threading.Event()

    def stop_in_the_middle(data: bytes, before: int) -> None:
        if before + len(data) > 2**20 and not reached.is_set():
            reached.set()
            dying.kill()

    line.on_down = stop_in_the_middle
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(dying.post, f"killed {STORY}", over(offer, line))
        with pytest.raises(httpx2.HTTPError):
            asking.result(120)
    assert reached.is_set()
    until(lambda: prefilling.handover()["leases"]["open"] == 0, 2 * LEASE_S + 30)
    assert prefilling.handover()["leases"]["expired"] >= 1
    assert prefilling.ask("Are you well?")["choices"]


@pytest.mark.parametrize("point", ["offer", "first_block", "middle", "release"])
def test_a_prefill_engine_that_is_killed_costs_no_answer(
    decoding: Process, start: Start, point: str
) -> None:
    dying = start(role="prefill")
    text = f"{point} {STORY}"
    offer, line = dying.offer(text), Line(dying)
    expected = text_of(dying.ask(text, cache_salt="off", seed=1))

    def up(data: bytes) -> None:
        if (point == "first_block" and b"/blocks" in data) or (
            point == "release" and b"/release" in data
        ):
            dying.kill()

    def down(data: bytes, before: int) -> None:
        # The first block has almost 3 MB.
        if point == "middle" and before + len(data) > 4 * 2**20:
            dying.kill()

    line.on_up, line.on_down = up, down
    if point == "offer":
        dying.kill()
    answer = decoding.ask(text, over(offer, line), seed=1)
    assert text_of(answer) == expected
    told = answer["metrics"]["kv"]["handover"]
    until(lambda: dying.process.poll() is not None)
    if point == "release":
        assert told["tokens"] >= 128
    elif point == "middle":
        assert told["tokens"] == 128 and told["failure"] in ("cut_off", "unreachable")
    else:
        assert told["tokens"] == 0 and told["failure"] in ("unreachable", "cut_off")
    line.close()
