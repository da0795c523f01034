"""The bundled model, loaded once for all tests that need real kernels."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from roost_inference.config import EngineConfig
from roost_inference.engine import Engine
from roost_inference.loading import load_engine


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
