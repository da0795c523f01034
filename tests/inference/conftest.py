"""The bundled model, loaded once for all tests that need real kernels."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from roost_inference.config import EngineConfig
from roost_inference.engine import Engine
from roost_inference.loading import load_engine
from roost_inference.testing.toy import ToyBackend

# Every claim of these files holds as well while answers are written in streams.
WITH_STREAMS = {
    *("test_abort", "test_engine", "test_simulation"),
    *("test_prefix_reuse", "test_scheduler", "test_background_prefill"),
    *("test_paging", "test_speculating", "test_speculating_with_paging"),
}
STREAM_SIZES = {"library": (0, 0), "streams": (5, 70)}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.split(".")[-1] in WITH_STREAMS:
        metafunc.fixturenames.append("toy_streams")
        metafunc.parametrize("toy_streams", STREAM_SIZES, indirect=True)


@pytest.fixture
def toy_streams(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy backend has these streams, unless the test says otherwise."""
    monkeypatch.setattr(ToyBackend, "stream_sizes", STREAM_SIZES[request.param])


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="session")
def engine(model_folder: Path) -> Iterator[Engine]:
    """A running engine on the real kernels, small enough for any machine."""
    config = EngineConfig(context_length=8192, max_sequences=24, max_running=12, speculation="auto")
    loaded = load_engine(config, model_folder)
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def real_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine that tests of the wire and of prompts talk to; nobody else uses it."""
    config = EngineConfig(context_length=4096, max_sequences=16, max_running=8)
    engine = load_engine(config, tmp_path_factory.mktemp("wire"))
    yield engine
    engine.close()
