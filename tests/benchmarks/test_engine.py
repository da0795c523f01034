"""Every scenario on real engine processes, over HTTP. Run by `make bench`, never by `make test`.

Nothing is asserted about speed: the table says what was reached, and on what machine.
"""

from collections.abc import Awaitable, Callable

import pytest

from roost_inference.benchmarking import contention, decode, equality, sessions
from roost_inference.benchmarking.bench import Bench
from roost_inference.benchmarking.moves import entering, handover, restore

SCENARIOS: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "decode": decode.measure_decode,
    "entering": entering.measure,
    "sessions": sessions.measure,
    "restart": restore.measure_restart,
    "tiers": restore.measure_tiers,
    "handover": handover.measure,
    "speculation": decode.measure_speculation,
    "equality": equality.measure,
    "fairness": contention.measure_fairness,
    "stall": contention.measure_stall,
    "abort": contention.measure_abort,
}


@pytest.mark.benchmark
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_measure(bench: Bench, scenario: str) -> None:
    print(f"\n{scenario}", flush=True)
    await SCENARIOS[scenario](bench)
