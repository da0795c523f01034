"""A gate holds who passes it, ends them or lets them pass."""

import threading

import pytest

from roost_inference.llama import bindings
from roost_inference.llama.bindings import gate as gates


@pytest.fixture
def gate() -> bindings.Gate:
    return bindings.Gate()


def passes(gate: bindings.Gate, passed: threading.Event | None = None) -> bool:
    """What the kernels do after each operation. The interpreter's lock is given up, as by them."""
    goes_on = not gates._FEOF(gate._stream)
    if goes_on and passed is not None:
        passed.set()
    return goes_on


def test_who_passes_goes_on_until_the_gate_ends_them_and_again_when_it_opens(
    gate: bindings.Gate,
) -> None:
    assert passes(gate) and passes(gate)
    gate.end()
    assert not passes(gate) and not passes(gate)
    gate.open()
    assert passes(gate)
    gate.close()
    gate.close()


def test_a_gate_that_is_held_holds_other_threads_until_it_is_let_go(gate: bindings.Gate) -> None:
    passed = threading.Event()
    with gate.held():
        with gate.held():  # one thread may hold it twice
            thread = threading.Thread(target=passes, args=(gate, passed))
            thread.start()
        assert not passed.wait(0.5)
    assert passed.wait(60)
    thread.join()
    gate.close()


def test_a_gate_is_let_go_when_the_step_fails(gate: bindings.Gate) -> None:
    with pytest.raises(ValueError), gate.held():
        raise ValueError
    passed = threading.Event()
    thread = threading.Thread(target=passes, args=(gate, passed))
    thread.start()
    assert passed.wait(60)
    thread.join()
    gate.close()


def test_the_end_comes_through_to_who_is_held(gate: bindings.Gate) -> None:
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(passes(gate)))
    with gate.held():
        thread.start()
        gate.end()
    thread.join()
    assert results == [False]
    gate.close()
