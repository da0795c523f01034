"""The ledger that courier and progress share: outcomes, waits and their bounds."""

from dataclasses import replace

import pytest

from roost_channels.config import DeliveryConfig
from roost_channels.delivery.ledger import UNRECORDED_MAX, Ledger
from roost_channels.message import Address, Receipt
from roost_channels.outbox import StoredPart
from roost_channels.rendering.parts import RenderedPart
from roost_channels.testing import VirtualClock
from roost_channels.testing.memory.outbox import MemoryOutbox

ADDRESS = Address("telegram", "42", "7")


async def planned_part(outbox: MemoryOutbox) -> StoredPart:
    entry = outbox.add(ADDRESS, "x")
    [part] = await outbox.plan(entry.id, [RenderedPart("x", (), 0, 1)])
    return part


async def test_a_kept_proof_is_recorded_once() -> None:
    outbox = MemoryOutbox(VirtualClock())
    ledger, part = Ledger(outbox), await planned_part(outbox)
    assert not await ledger.record_kept(part)
    ledger.keep(part, Receipt("m1"))
    assert await ledger.record_kept(part) and not await ledger.record_kept(part)
    assert outbox.part(part.id).message_id == "m1"


async def test_kept_proofs_are_bounded_and_the_oldest_go_first() -> None:
    ledger = Ledger(MemoryOutbox())
    part = StoredPart("p", "e", 0, 1, RenderedPart("x"), "sending", 1, 0.0, None, None)
    for number in range(UNRECORDED_MAX + 5):
        ledger.keep(replace(part, id=f"p{number}"), Receipt(f"m{number}"))
    assert len(ledger.unrecorded) == UNRECORDED_MAX and "p4" not in ledger.unrecorded


async def test_a_failing_storage_takes_all_kept_proofs_in_the_end() -> None:
    outbox = MemoryOutbox()
    ledger, part = Ledger(outbox), await planned_part(outbox)
    ledger.keep(part, Receipt("m1"))
    for _ in range(2):
        outbox.fault("sent", ConnectionError("the database restarts"))
    await ledger.record_all_kept()
    assert not ledger.unrecorded and outbox.part(part.id).state == "sent"


@pytest.mark.parametrize(("attempt", "wait_s"), [(1, 1.0), (2, 3.0), (3, 9.0), (6, 180.0)])
def test_tries_are_ever_further_apart_up_to_a_bound(attempt: int, wait_s: float) -> None:
    ledger = Ledger(MemoryOutbox(), config=DeliveryConfig(retry_s=1.0, retry_max_s=180.0))
    assert ledger.backoff_s(attempt) == wait_s
