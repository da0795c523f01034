"""A lease opens once, ends once, and whatever comes late changes nothing."""

import itertools

import pytest

from roost_inference.kv.handover import leases
from roost_inference.kv.handover.leases import Lease, LeaseState, LeaseTable

KEYS = [b"one", b"two"]


def table(**bounds: float) -> LeaseTable:
    bounds = {"lease_s": 30.0, "leases_max": 4, "bytes_max": 1000} | bounds
    return LeaseTable(
        lease_s=bounds["lease_s"],
        leases_max=int(bounds["leases_max"]),
        bytes_max=int(bounds["bytes_max"]),
    )


def test_a_lease_that_is_read_and_released_is_done() -> None:
    leased = table()
    assert isinstance(leased.offer("a", KEYS, 10, 0.0), Lease)
    assert leased.state("a") is LeaseState.OFFERED
    lease = leased.fetch("a", 1.0)
    assert lease is not None and lease.keys == frozenset(KEYS)
    assert leased.release("a", 2.0) is LeaseState.DONE
    assert leased.open(2.0) == 0


def test_a_lease_that_nobody_reads_is_released_or_expires() -> None:
    leased = table()
    leased.offer("a", KEYS, 10, 0.0)
    leased.offer("b", KEYS, 10, 0.0)
    assert leased.release("a", 1.0) is LeaseState.RELEASED
    assert leased.renew("b", 29.9) is LeaseState.OFFERED
    assert leased.open(59.8) == 1
    assert leased.open(59.9) == 0
    assert leased.state("b") is LeaseState.EXPIRED
    assert leased.ended[LeaseState.EXPIRED] == 1


def test_every_order_of_signals_ends_in_one_state_that_stays() -> None:
    signals = ("fetch", "renew", "release", "expire")
    for order in itertools.product(signals, repeat=4):
        leased, now, ended = table(), 0.0, None
        leased.offer("a", KEYS, 10, now)
        for signal in order:
            if signal == "expire":
                now += 31.0
                leased.open(now)
            else:
                getattr(leased, signal)("a", now)
            state = leased.state("a")
            assert ended is None or state is ended, order
            ended = state if state not in leases.OPEN_STATES else None
        assert leased.open(now + 60.0) == 0
        assert sum(leased.ended.values()) == 1, "it ends once"


def test_signals_for_unknown_leases_do_nothing() -> None:
    leased = table()
    assert leased.renew("x", 0.0) is None
    assert leased.release("x", 0.0) is None
    assert leased.fetch("x", 0.0) is None
    assert leased.open(0.0) == 0


def test_nothing_is_offered_beyond_the_bounds() -> None:
    leased = table(leases_max=2, bytes_max=100)
    assert leased.offer("none", [], 0, 0.0) == "nothing_stored"
    assert leased.offer("large", KEYS, 101, 0.0) == "too_many_bytes"
    assert isinstance(leased.offer("a", KEYS, 60, 0.0), Lease)
    assert leased.offer("b", KEYS, 60, 0.0) == "too_many_bytes"
    assert isinstance(leased.offer("c", KEYS, 40, 0.0), Lease)
    assert leased.offer("d", KEYS, 0, 0.0) == "too_many_leases"
    assert leased.leased_bytes(0.0) == 100
    assert isinstance(leased.offer("e", KEYS, 60, 31.0), Lease), "time makes room"


def test_so_many_ended_leases_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "ENDED_KEPT", 2)
    leased = table()
    for id in "abc":
        leased.offer(id, KEYS, 1, 0.0)
        leased.release(id, 0.0)
    assert leased.state("a") is None
    assert leased.release("a", 0.0) is None, "as for one that never was"
    assert leased.state("c") is LeaseState.RELEASED
