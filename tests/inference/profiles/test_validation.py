"""A profile is measured behind everybody else: it waits, gives way, ends, and leaves nothing."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roost_inference.config import EngineConfig
from roost_inference.engine import Engine
from roost_inference.profiles import background, validation
from roost_inference.profiles.background import TRIES_MAX, BackgroundValidation
from roost_inference.profiles.validation import Disturbed, measure
from roost_inference.request import (
    EngineSession,
    EngineStats,
    FinishEvent,
    Listener,
    Request,
    ServiceClass,
    TextEvent,
    Timings,
    Usage,
)
from roost_inference.testing.puppet import PuppetEngine


class Measured(PuppetEngine):
    """Answers at once unless `holds`; a prompt that was offloaded comes from a tier.

    visitors: how many others are served. came: called with each request.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        path = folder / "model.gguf"
        path.write_bytes(b"weights")
        self.model = replace(self.model, path=str(path), quantisation="Q4_0")
        self.holds = False
        self.visitors = 0
        self.ended = 0
        self.came: Callable[[Request], None] = lambda request: None
        self.asked: list[Request] = []
        self.store: Any = object()
        self.open: dict[str, tuple[Request, Listener]] = {}
        self.offloaded: set[EngineSession] = set()
        self.closed: list[EngineSession] = []
        self.session_control: Any = self

    def offload(self, session: EngineSession) -> dict[str, Any]:
        self.offloaded.add(session)
        return {}

    def close(self, session: EngineSession) -> dict[str, Any]:
        self.closed.append(session)
        return {}

    def submit(self, request: Request, listener: Listener) -> None:
        self.asked.append(request)
        self.open[request.id] = request, listener
        self.came(request)
        if not self.holds:
            self._end(request.id, "length")

    def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)
        self._end(request_id, "abort")

    def _end(self, id: str, reason: Any) -> None:
        request, listener = self.open.pop(id)
        self.ended += 1
        cached = len(request.prompt_tokens) - 1 if request.session in self.offloaded else 0
        first_s = 0.1 if cached else 0.5
        listener(TextEvent(id, "x" * request.max_tokens, (7,) * request.max_tokens))
        usage = Usage(len(request.prompt_tokens), cached, request.max_tokens)
        listener(FinishEvent(id, reason, usage, Timings(0.0, first_s, first_s + 1.0)))

    def stats(self) -> EngineStats:
        return replace(
            super().stats(),
            running=len(self.open) + self.visitors,
            waiting=0,
            requests_total={"length": self.ended},
        )


@pytest.fixture
def engine(tmp_path: Path) -> Measured:
    return Measured(tmp_path)


def validating(engine: Measured, folder: Path) -> BackgroundValidation:
    return BackgroundValidation(engine, EngineConfig(), folder, idle_s=0.02, look_s=0.01)


def state(one: BackgroundValidation, wanted: str) -> None:
    deadline = threading.Event()
    for _ in range(1000):
        if one.report()["state"] == wanted:
            return
        deadline.wait(0.02)
    raise AssertionError(one.report())


@pytest.fixture
def running(engine: Measured, tmp_path: Path) -> Iterator[BackgroundValidation]:
    made = validating(engine, tmp_path / "profiles")
    yield made
    made.stop()


def test_figures_are_those_of_computed_and_of_loaded_prompts(engine: Measured) -> None:
    found = measure(engine, lambda: False, now=lambda: 5.0)
    size = len(engine.asked[0].prompt_tokens)
    assert found.prefill == pytest.approx(size / 0.5)
    assert found.decode == pytest.approx(validation.ANSWER_TOKENS - 1)
    assert (found.compute_ms, found.load_ms, found.is_equal, found.at) == (500, 100, True, 5.0)
    assert all(one.service is ServiceClass.BACKGROUND for one in engine.asked)
    assert len({one.session for one in engine.asked}) == validation.ROUNDS == len(engine.closed)
    assert len({one.session.cache_salt for one in engine.asked}) == validation.ROUNDS


def test_without_tiers_nothing_is_loaded(engine: Measured) -> None:
    engine.store = None
    found = measure(engine, lambda: False)
    assert found.load_ms is None and found.is_equal
    assert len(engine.asked) == validation.ROUNDS


def test_it_gives_way_as_soon_as_somebody_comes(engine: Measured) -> None:
    engine.holds = True
    engine.came = lambda request: setattr(engine, "visitors", 1)
    with pytest.raises(Disturbed):
        measure(engine, lambda: False)
    assert engine.aborted == [engine.asked[0].id]
    assert len(engine.closed) == 1


def test_a_visitor_who_came_and_went_spoils_the_figures(engine: Measured) -> None:
    engine.came = lambda request: setattr(engine, "ended", engine.ended + 1)
    with pytest.raises(Disturbed, match="somebody else was served"):
        measure(engine, lambda: False)


def test_a_busy_engine_is_not_measured(engine: Measured) -> None:
    engine.visitors = 1
    with pytest.raises(Disturbed):
        measure(engine, lambda: False)
    assert engine.asked == []


def test_the_first_measurement_is_the_record_and_later_ones_are_compared(
    engine: Measured, running: BackgroundValidation, tmp_path: Path
) -> None:
    running.start()
    state(running, "done")
    first = running.report()
    assert first["name"] == "bundled"
    assert first["record"]["facts"]["quantisation"] == "Q4_0"
    again = validating(engine, tmp_path / "profiles")
    again.start()
    state(again, "done")
    second = again.report()["record"]
    assert second["first"] == first["record"]["first"]
    assert second["last"]["at"] > second["first"]["at"]
    again.stop()


def test_it_waits_until_nobody_is_served(engine: Measured, running: BackgroundValidation) -> None:
    engine.visitors = 1
    running.start()
    threading.Event().wait(0.2)
    assert running.report()["state"] == "waiting" and engine.asked == []
    engine.visitors = 0
    state(running, "done")


def test_it_gives_up_after_some_tries(engine: Measured, running: BackgroundValidation) -> None:
    engine.came = lambda request: setattr(engine, "ended", engine.ended + 1)
    running.start()
    state(running, "given up")
    assert len(engine.asked) == TRIES_MAX
    assert running.report()["record"] is None


def test_it_gives_up_after_some_time(
    engine: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "WAIT_MAX_S", 0.05)
    engine.visitors = 1
    made = validating(engine, tmp_path / "profiles")
    made.start()
    state(made, "given up")
    assert engine.asked == []


def test_a_stop_ends_a_measurement_at_once(engine: Measured, running: BackgroundValidation) -> None:
    engine.holds = True
    running.start()
    state(running, "measuring")
    running.stop()
    assert engine.aborted and not engine.open
    state(running, "given up")


@pytest.mark.parametrize("harm", ["no model", "bad profile", "no folder"])
def test_what_goes_wrong_is_given_up(engine: Measured, tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "profiles"
    if harm == "no model":
        Path(engine.model.path).unlink()
    elif harm == "bad profile":
        folder.mkdir()
        (folder / "mine.toml").write_text("= =")
    else:
        folder.write_text("a file where the folder should be")
    made = validating(engine, folder)
    made.start()
    state(made, "given up")
    made.stop()


@pytest.mark.timeout(300)
def test_real_kernels_are_measured_and_nothing_is_left(
    real_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "ROUNDS", 1)
    found = measure(real_engine, lambda: False)
    assert found.decode > 0 and found.prefill > 0 and found.compute_ms > 0
    assert found.load_ms is not None
    assert found.is_equal
    assert not [
        one for one in real_engine.session_control.listing() if "validation" in str(one["id"])
    ]
    assert validation.is_idle(real_engine.stats())
