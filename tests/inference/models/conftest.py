"""Tiny random models of each kind, written once, and engines over them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from roost_inference.config import EngineConfig
from roost_inference.engine import Engine
from roost_inference.loading import load_engine
from roost_inference.testing.tiny_gguf import TinyShape, write_tiny

StartEngine = Callable[..., Engine]
WriteModel = Callable[..., Path]


@pytest.fixture
def write_model(tmp_path: Path) -> WriteModel:
    def write(architecture: str, **fields: object) -> Path:
        shape = TinyShape(**{"layers": 7, **fields})  # type: ignore[arg-type]
        return write_tiny(tmp_path / f"{architecture}-{len(fields)}.gguf", architecture, shape)

    return write


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartEngine]:
    """Starts an engine; several may be started one after the other with one data folder."""
    engines: list[Engine] = []

    def begin(model: Path, **fields: object) -> Engine:
        sizes = {"context_length": 2048, "max_sequences": 8, "max_running": 4, "threads": 1}
        config = EngineConfig.model_validate({"model": model, **sizes, **fields})
        engines.append(load_engine(config, tmp_path / "data"))
        return engines[-1]

    yield begin
    for engine in engines:
        engine.close()
