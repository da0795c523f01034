"""Stop means stop: within one step, in every phase, and nobody else notices."""

import threading

import pytest

from roost_inference.batch import Batch
from roost_inference.testing.harness import Collector, drive, request, toy_engine
from roost_inference.testing.toy import END, ToyBackend, continuation


def test_a_waiting_request_ends_without_being_computed() -> None:
    backend = ToyBackend()
    engine, heard = toy_engine(backend), Collector()
    engine.submit(request("never", id="r"), heard)
    engine.abort("r")
    drive(engine)
    assert heard.finish.reason == "abort"
    assert heard.finish.timings.first_token_s is None
    assert backend.decoded == []


def test_a_decoding_request_ends_at_the_next_step_with_its_partial_text() -> None:
    engine, heard = toy_engine(), Collector()
    engine.submit(request("count", 100, id="r", ignore_eos=True), heard)
    for _ in range(6):
        engine.step()
    engine.abort("r")
    assert not engine.step()
    assert heard.finish.reason == "abort"
    assert heard.finish.usage.completion_tokens == 6 == len(heard.tokens)
    assert engine.stats().running == 0


def test_text_held_for_a_stop_string_is_given_out() -> None:
    full = bytes(continuation(list(b"held"), 6)).decode()
    engine, heard = toy_engine(), Collector()
    engine.submit(request("held", 50, id="r", stop=(full[5] + "\x00",)), heard)
    for _ in range(6):
        engine.step()
    assert heard.text == full[:5]
    engine.abort("r")
    drive(engine)
    assert heard.text == full


def test_a_long_prefill_is_interrupted_inside_its_step_and_others_are_unchanged() -> None:
    def abort_inside(batch: Batch) -> None:
        if batch.size > 40:
            engine.abort("long")

    backend = ToyBackend()
    engine, other, long = toy_engine(backend), Collector(), Collector()
    engine.submit(request("other", 20, ignore_eos=True), other)
    for _ in range(5):
        engine.step()
    backend.on_decode = abort_inside
    engine.submit(request("z" * 200, id="long"), long)
    drive(engine)
    alone = Collector()
    quiet = toy_engine()
    quiet.submit(request("other", 20, ignore_eos=True), alone)
    drive(quiet)
    assert long.finish.reason == "abort" and long.tokens == []
    assert other.tokens == alone.tokens
    assert max(backend.decoded) <= 40, "the interrupted step counted"


def test_the_step_of_one_alone_is_interrupted_however_short_it_was_expected_to_be() -> None:
    """Where other programs take the cores, a step of 8 ms lasts 80."""

    def abort_inside(batch: Batch) -> None:
        engine.abort("r")

    backend = ToyBackend()
    engine, heard = toy_engine(backend), Collector()
    engine.submit(request("count", 100, id="r", ignore_eos=True), heard)
    for _ in range(6):
        engine.step()
    steps = len(backend.decoded)
    backend.on_decode = abort_inside
    drive(engine)
    assert heard.finish.reason == "abort" and len(heard.tokens) == 6
    assert len(backend.decoded) == steps, "the interrupted step counted"


def test_a_short_step_of_several_is_let_finish_when_one_of_them_is_aborted() -> None:
    def abort_inside(batch: Batch) -> None:
        engine.abort("r")

    backend = ToyBackend()
    engine, heard, other = toy_engine(backend), Collector(), Collector()
    engine.submit(request("count", 100, id="r", ignore_eos=True), heard)
    engine.submit(request("other", 100, ignore_eos=True), other)
    for _ in range(6):
        engine.step()
    tokens, backend.on_decode = len(other.tokens), abort_inside
    engine.step()
    assert len(other.tokens) == tokens + 1
    engine.step()
    assert heard.finish.reason == "abort"


def test_what_was_computed_before_the_abort_is_reused() -> None:
    engine, heard, again = toy_engine(), Collector(), Collector()
    engine.submit(request("w" * 200, id="r", session_id="s"), heard)
    engine.step()
    engine.step()
    engine.abort("r")
    drive(engine)
    assert engine.stats().running == 0
    engine.submit(request("w" * 200, 4, session_id="s"), again)
    drive(engine)
    assert again.finish.usage.cached_tokens == 128


def test_an_abort_between_scheduling_and_decoding_is_not_lost() -> None:
    engine, heard = toy_engine(), Collector()
    engine.submit(request("r" * 100, id="r"), heard)
    begin = engine._mailbox.begin_step

    def begin_after_abort(ids, *, by_anybody):  # type: ignore[no-untyped-def]
        engine._mailbox.begin_step = begin  # type: ignore[method-assign]
        engine.abort("r")
        return begin(ids, by_anybody=by_anybody)

    engine._mailbox.begin_step = begin_after_abort  # type: ignore[method-assign]
    assert not engine.step()
    assert not engine.step()
    assert heard.finish.reason == "abort"
    engine.check()


def test_unknown_and_finished_ids_are_ignored() -> None:
    engine, heard = toy_engine(), Collector()
    engine.submit(request("a", 3, id="r"), heard)
    drive(engine)
    engine.abort("r")
    engine.abort("nobody")
    drive(engine)
    assert len([event for event in heard.events if event is heard.finish]) == 1


@pytest.mark.parametrize("round", range(3))
def test_aborts_from_other_threads_end_every_request_once(round: int) -> None:
    engine = toy_engine(ToyBackend(cells=2048, sequences=32), max_running=16)
    engine.start()
    heard = {f"r{i}": Collector() for i in range(40)}
    for name, listener in heard.items():
        engine.submit(request(name * 10, 200, id=name, ignore_eos=True), listener)
    threads = [threading.Thread(target=engine.abort, args=(name,)) for name in heard]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for listener in heard.values():
        assert listener.wait().reason in ("abort", "length")
    engine.close()


def test_a_prompt_being_read_is_interrupted_to_free_another_but_not_twice_in_a_row() -> None:
    victims = [f"v{number}" for number in range(4)]

    def abort_one(batch: Batch) -> None:
        if batch.size > 40 and victims:
            engine.abort(victims.pop())

    backend = ToyBackend(cells=2048)
    engine, long = toy_engine(backend), Collector()
    writers = {name: Collector() for name in victims}
    for name, heard in writers.items():
        engine.submit(request(f"{name} writes", 400, id=name, ignore_eos=True), heard)
    for _ in range(6):
        engine.step()
    backend.on_decode = abort_one
    engine.submit(request("z" * 300, 4), long)
    read_before_the_last_left = []
    while victims:
        engine.step()
        engine.check()
        read_before_the_last_left.append(sum(size > 40 for size in backend.decoded))
    drive(engine)
    for heard in writers.values():
        assert heard.finish.reason == "abort" and len(heard.tokens) > 0
    assert read_before_the_last_left[-1] >= 1, "aborts of others held a prompt up"
    assert long.tokens == [t for t in continuation(list(b"z" * 300), 4) if t != END]
