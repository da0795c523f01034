"""How many streams there are, and how long: by the memory, the answers and the longest request."""

from typing import Any

import pytest

from roost_inference.llama import bindings, memory
from roost_inference.llama.memory import stream_sizes

PER_CELL = 1000


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bindings, "kv_bytes_per_cell", lambda model, kv_type: PER_CELL)
    monkeypatch.setattr(memory, "available_memory_bytes", lambda: 2**40)


def sizes(**fields: Any) -> tuple[int, int]:
    given: dict[str, Any] = {"memory": None, "answers": 32, "longest": 8192, **fields}
    return stream_sizes(None, "f16", **given)


def test_the_default_is_sixteen_answers_of_2048_tokens() -> None:
    assert sizes() == (16, 2048)
    assert sizes(answers=6) == (6, 2048)


def test_a_small_machine_has_shorter_streams_then_fewer_then_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for free, expected in ((16 * 1024, (16, 1024)), (8 * 512, (8, 512)), (3 * 512, (0, 0))):
        monkeypatch.setattr(memory, "available_memory_bytes", lambda f=free: 8 * f * PER_CELL)
        assert sizes() == expected


def test_what_is_given_bounds_both_and_no_stream_is_longer_than_a_request() -> None:
    assert sizes(memory=32 * 3000 * PER_CELL) == (32, 2816)
    assert sizes(memory=2**40, longest=1000) == (32, 1024)
    assert sizes(memory=3 * 512 * PER_CELL) == (0, 0)
