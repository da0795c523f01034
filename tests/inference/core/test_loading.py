"""The model is found, converted once, and every way it can be wrong has a clear message."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from roost_inference.config import EngineConfig
from roost_inference.engine import Engine
from roost_inference.errors import EngineFailed, EngineUnavailable
from roost_inference.llama import bindings, builds, machine, memory, quantize
from roost_inference.loading import load_engine


def test_the_bundled_model_is_rewritten_once_as_q4_0(engine: Engine, model_folder: Path) -> None:
    files = list((model_folder / "models").iterdir())
    assert [str(path) for path in files] == [engine.model.path]
    assert files[0].name.endswith(".Q4_0.gguf")
    before = files[0].stat().st_mtime_ns
    source = quantize.bundled_model()
    assert quantize.requantised(source, model_folder / "models", 2) == files[0]
    assert files[0].stat().st_mtime_ns == before


def test_a_q4_0_source_is_used_as_it_is(engine: Engine, tmp_path: Path) -> None:
    source = Path(engine.model.path)
    assert quantize.requantised(source, tmp_path / "models", 1) == source
    assert not (tmp_path / "models").exists()


def test_an_interrupted_conversion_leaves_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(source: Path, target: Path, threads: int) -> None:
        target.write_bytes(b"GGUF half")
        raise EngineFailed("the disk is full")

    monkeypatch.setattr(bindings, "quantize", cut_short)
    with pytest.raises(EngineFailed, match="disk is full"):
        quantize.requantised(quantize.bundled_model(), tmp_path, 1)
    assert list(tmp_path.iterdir()) == []


def test_an_older_conversion_makes_way(tmp_path: Path, engine: Engine) -> None:
    source = quantize.bundled_model()
    older = tmp_path / "SmolLM2-135M-Instruct-000000000000.Q4_0.gguf"
    older.write_bytes(b"old")
    made = quantize.requantised(source, tmp_path, 2)
    assert list(tmp_path.iterdir()) == [made]


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(EngineUnavailable, match=r"can't be stored in .*models"):
        load_engine(EngineConfig(), tmp_path)


def test_a_missing_model_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"gone\.gguf does not exist"):
        load_engine(EngineConfig(model=tmp_path / "gone.gguf"), tmp_path)


def test_a_missing_model_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "DISTRIBUTION", "no-such-model-package")
    with pytest.raises(EngineUnavailable, match="no-such-model-package is not installed"):
        quantize.bundled_model()


@pytest.mark.parametrize("kept", [100, 2_000_000, 60_000_000])
def test_a_model_cut_short_is_refused_with_the_reason(
    engine: Engine, tmp_path: Path, kept: int
) -> None:
    part = tmp_path / "part.gguf"
    part.write_bytes(Path(engine.model.path).read_bytes()[:kept])
    with pytest.raises(EngineUnavailable, match=r"part\.gguf can't be loaded: .+"):
        load_engine(EngineConfig(model=part), tmp_path)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("This is not a model.")
    with pytest.raises(EngineUnavailable, match=r"text\.gguf can't be loaded"):
        load_engine(EngineConfig(model=tmp_path / "text.gguf"), tmp_path)


def test_a_context_beyond_memory_names_what_it_needs(engine: Engine, tmp_path: Path) -> None:
    config = EngineConfig(model=Path(engine.model.path), context_length=2_000_000_000)
    with pytest.raises(EngineUnavailable, match=r"2000000000 tokens needs .* GiB are free"):
        load_engine(config, tmp_path)


def test_little_free_memory_is_noticed_before_llama_takes_it(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_memory_bytes", lambda: 300 * 2**20)
    with pytest.raises(EngineUnavailable, match="Set a smaller engine context_length"):
        load_engine(EngineConfig(model=Path(engine.model.path)), tmp_path)


def test_another_version_of_the_bindings_is_refused() -> None:
    with pytest.raises(EngineUnavailable, match=r"9\.9\.9 is installed, this build needs"):
        builds.check_version(builds.NATIVE, "9.9.9")


def test_another_layout_of_the_structures_is_refused() -> None:
    library = bindings.library.llama
    changed = library.llama_context_default_params()
    changed.n_batch = 7
    fake = SimpleNamespace(**vars(library))
    fake.llama_context_default_params = lambda: changed
    with pytest.raises(EngineUnavailable, match="context parameters have another layout"):
        bindings.check_layout(fake, bindings.kernels()[0])


def test_kernels_that_this_process_did_not_load_are_refused(tmp_path: Path) -> None:
    other = "portable" if bindings.kernels()[0] == "native" else "native"
    with pytest.raises(EngineUnavailable, match=f"has loaded .* kernels, not {other} ones"):
        load_engine(EngineConfig.model_validate({"kernels": other}), tmp_path)


def test_the_context_per_request_can_be_set_smaller(engine: Engine, tmp_path: Path) -> None:
    config = EngineConfig(
        model=Path(engine.model.path),
        context_length=512,
        request_context_length=100,
        max_sequences=2,
        max_running=2,
        kv_type="q8_0",
    )
    small = load_engine(config, tmp_path)
    try:
        assert small.model.context_length == 100
        assert small.model.name == Path(engine.model.path).stem
    finally:
        small.close()


def test_cores_and_memory_are_plausible() -> None:
    assert 1 <= machine.physical_cores() <= 1024
    free = machine.available_memory_bytes()
    assert free is None or free > 2**20


@pytest.mark.parametrize(
    ("text", "size"), [("2GiB", 2 * 2**30), ("512 MiB", 2**29), ("1.5KiB", 1536), ("7", 7)]
)
def test_sizes_are_read_as_text(text: str, size: int) -> None:
    assert EngineConfig.model_validate({"kv_ram": text}).kv_ram == size


@pytest.mark.parametrize(
    "wrong",
    [
        {"kv_ram": "2 lots"},
        {"kv_ram": -1},
        {"max_sequences": 256},
        {"max_sequences": 4, "max_running": 8},
        {"batch_tokens": 32, "max_running": 40},
        {"context_length": 512, "request_context_length": 1024},
        {"treads": 2},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EngineConfig.model_validate(wrong)
