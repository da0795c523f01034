"""The ledger counts every cell once, however it is shared."""

import random

import pytest

from roost_inference.kv.cells import CellLedger


def test_shared_cells_count_once_and_live_as_long_as_one_holder() -> None:
    ledger = CellLedger(10)
    ledger.extend(0, 6)
    ledger.share(0, 1, 4)
    ledger.extend(1, 2)
    assert (ledger.used, ledger.free) == (8, 2)
    assert ledger.truncate(0, 0) == 2
    assert ledger.used == 6 and ledger.length(1) == 6
    assert ledger.truncate(1, 0) == 6
    assert ledger.free == 10
    ledger.check()


def test_exclusive_is_what_eviction_would_free() -> None:
    ledger = CellLedger(20)
    ledger.extend(0, 6)
    ledger.share(0, 1, 4)
    ledger.extend(1, 3)
    assert ledger.exclusive([1], [0]) == 3
    assert ledger.exclusive([0, 1], []) == ledger.distinct([0, 1]) == 9


def test_more_cells_than_are_free_are_refused_whole() -> None:
    ledger = CellLedger(4)
    with pytest.raises(ValueError, match="5 cells wanted, 4 are free"):
        ledger.extend(0, 5)
    assert ledger.free == 4


def test_sharing_into_a_sequence_with_tokens_is_refused() -> None:
    ledger = CellLedger(4)
    ledger.extend(0, 1)
    ledger.extend(1, 1)
    with pytest.raises(ValueError, match="not empty"):
        ledger.share(0, 1, 1)


@pytest.mark.parametrize("seed", range(5))
def test_nothing_leaks_in_a_random_life(seed: int) -> None:
    rng, ledger = random.Random(seed), CellLedger(64)
    for _ in range(2000):
        one, other = rng.sample(range(6), 2)
        match rng.randrange(3):
            case 0:
                ledger.extend(one, rng.randint(0, ledger.free))
            case 1 if ledger.length(one) and not ledger.length(other):
                ledger.share(one, other, rng.randint(1, ledger.length(one)))
            case _:
                ledger.truncate(one, rng.randint(0, ledger.length(one)))
        ledger.check()
    for sequence_id in range(6):
        ledger.truncate(sequence_id, 0)
    assert ledger.free == 64
