"""Who holds which stream: without gaps, with nothing lost, in random lives on lists of tokens."""

import random

import pytest

from roost_inference.batch import Batch
from roost_inference.testing.toy_streams import ENTER_AT, ROOM, Held, ToyStreams

CELLS, STREAMS = 20, 4


class Life:
    """A library and streams, beside plain lists of what each sequence must hold."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.library: Held = {}
        self.streams = ToyStreams(self.library, STREAMS, CELLS)
        self.pool = self.streams.pool
        self.expected: dict[int, list[int]] = {}

    def read(self, sequence: int, count: int) -> None:
        """Rows of a prompt."""
        batch = Batch(64)
        start = len(self.expected.setdefault(sequence, []))
        batch.add([self.rng.randrange(100) for _ in range(count)], start, sequence)
        self._step(batch)

    def write(self, *sequences: int) -> None:
        """A row of an answer each; further rows of one are those of its draft."""
        batch = Batch(64)
        ends = [
            len(self.expected[sequence]) + sequences[:at].count(sequence)
            for at, sequence in enumerate(sequences)
        ]
        batch.add_last([self.rng.randrange(100) for _ in ends], ends, list(sequences))
        self._step(batch)

    def _step(self, batch: Batch) -> None:
        held_of = self.streams.arrange(batch)
        for row in range(batch.size):
            sequence, token = int(batch.sequence_ids[row]), int(batch.tokens[row])
            held_of(sequence).append((token, object()))
            self.expected[sequence].append(token)

    def cut(self, sequence: int, start: int) -> None:
        self.pool.cut(sequence, start)
        del self.library.setdefault(sequence, [])[start:]
        del self.expected[sequence][start:]

    def check(self) -> None:
        self.pool.check()
        for sequence, tokens in self.expected.items():
            stream = self.pool._held.get(sequence)
            held = self.library.get(sequence, [])
            stored = [token for token, _ in held]
            if stream is None:
                assert stored == tokens
            else:
                assert [token for token, _ in self.streams.held[stream.stream]] == tokens
                assert stored[: stream.stored] == tokens[: stream.stored]


@pytest.fixture
def life() -> Life:
    return Life()


def begin(life: Life, *sequences: int, count: int = 6) -> None:
    for sequence in sequences:
        life.read(sequence, count)


def test_answers_enter_when_there_are_enough_of_them(life: Life) -> None:
    begin(life, *range(ENTER_AT))
    life.write(*range(ENTER_AT - 1))
    assert len(life.pool) == 0
    life.write(*range(ENTER_AT))
    assert len(life.pool) == ENTER_AT


def test_one_that_is_inside_stays_inside_when_it_is_alone(life: Life) -> None:
    begin(life, 0, 1)
    life.write(0, 1)
    life.cut(1, 0)
    life.write(0)
    assert 0 in life.pool
    life.check()


def test_the_last_stream_moves_into_the_gap_of_one_that_ends(life: Life) -> None:
    begin(life, 0, 1, 2)
    life.write(0, 1, 2)
    life.cut(0, 0)
    life.write(1, 2)
    assert life.streams.moved == 1
    life.check()


def test_an_idle_one_in_the_way_goes_back_whole(life: Life) -> None:
    begin(life, 0, 1, 2)
    life.write(0, 1, 2)
    life.write(1, 2)
    assert 0 not in life.pool and len(life.library[0]) == 7
    life.check()


def test_an_idle_one_behind_the_others_stays_until_its_stream_is_wanted(life: Life) -> None:
    begin(life, *range(STREAMS + 1))
    life.write(*range(STREAMS))
    life.write(*range(STREAMS - 1))
    assert STREAMS - 1 in life.pool
    life.write(*range(STREAMS - 1), STREAMS)
    assert STREAMS - 1 not in life.pool and STREAMS in life.pool
    life.check()


def test_nobody_enters_without_room_and_who_has_none_left_leaves(life: Life) -> None:
    begin(life, 0, count=CELLS - ROOM)
    begin(life, 1, count=CELLS - ROOM - 1)
    begin(life, 2)
    life.write(0, 1, 2)
    assert 0 not in life.pool and 1 in life.pool
    for _ in range(ROOM):
        life.write(1, 2)
    assert 1 in life.pool
    life.write(1, 2)
    assert 1 not in life.pool and 2 in life.pool
    life.check()


def test_rows_of_a_prompt_send_their_sequence_back(life: Life) -> None:
    begin(life, 0, 1)
    life.write(0, 1)
    life.read(1, 3)
    assert 1 not in life.pool and 0 in life.pool
    life.check()


def test_drafts_send_a_few_answers_back_and_many_or_a_lone_one_not(
    life: Life,
) -> None:
    begin(life, 0, 1, 2)
    life.write(0, 1, 2)
    life.write(0, 0, 0)
    life.write(0, 1, 1, 2)
    assert len(life.pool) == 3
    life.pool.enter_at = 4
    life.write(0, 1, 1)
    assert 0 not in life.pool and 1 not in life.pool
    life.check()


def test_storing_copies_once_and_only_as_far_as_is_wanted(life: Life) -> None:
    begin(life, 0, 1)
    life.write(0, 1)
    life.pool.store(0, 2)
    assert life.pool.stored(0) == 3
    life.pool.store(0, 5)
    assert life.pool.stored(0) == 7 and 0 in life.pool
    life.check()


def test_after_a_refusal_nobody_enters_and_who_is_inside_goes_on(life: Life) -> None:
    begin(life, 0, 1, 2)
    life.write(0, 1)
    life.streams.refuses = True
    life.write(0, 1, 2)
    life.streams.refuses = False
    life.write(0, 1, 2)
    assert 2 not in life.pool and 0 in life.pool and life.pool.is_closed
    life.check()


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_in_a_random_life(seed: int) -> None:
    life, rng = Life(seed), random.Random(seed)
    for _ in range(400):
        known = [sequence for sequence, tokens in life.expected.items() if tokens]
        match rng.randrange(6):
            case 0:
                life.read(rng.randrange(7), rng.randint(1, 8))
            case 1 if known:
                life.cut(sequence := rng.choice(known), rng.choice((0, 0, 5)))
                assert len(life.expected[sequence]) in range(6)
            case 2 if known:
                life.pool.store(rng.choice(known), rng.randint(0, 8))
            case 3 if known:
                life.pool.leave(rng.choice(known))
            case _ if known:
                life.write(*rng.sample(known, rng.randint(1, len(known))))
        life.check()
    assert life.streams.entered > 20 and life.streams.moved > 5
