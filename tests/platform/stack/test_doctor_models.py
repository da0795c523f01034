"""`roost doctor` tells from a model's file how it will be served."""

import asyncio
import struct
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from roost_inference.config import EngineConfig
from roost_inference.http.listener import listening
from roost_inference.llama import bindings
from roost_inference.models.header import NotGguf, read_header
from roost_inference.models.kinds import HYBRID, RECURRENT
from roost_inference.testing.tiny_gguf import TinyShape, write_tiny
from roost_platform.settings.config import load_settings
from roost_platform.stack.checks.engines import template_findings
from roost_platform.stack.checks.gateway import Finding
from roost_platform.stack.checks.model import model_findings


def found(path: Path) -> Finding:
    (finding,) = model_findings(EngineConfig(model=path))
    return finding


@pytest.mark.parametrize(
    ("architecture", "window", "level", "words"),
    [
        ("llama", 128, "ok", "GiB"),
        ("gemma3", 128, "ok", "GiB"),
        ("gemma3", 64, "warning", "served without paging"),
        ("mamba", 128, "warning", "a recurrent model"),
        ("lfm2", 128, "warning", "a hybrid model"),
        ("bert", 128, "broken", "embedding_model"),
    ],
)
def test_each_kind_of_model_is_told_apart(
    tmp_path: Path, architecture: str, window: int, level: str, words: str
) -> None:
    shape = TinyShape(window=window)
    finding = found(write_tiny(tmp_path / "model.gguf", architecture, shape))
    assert finding.level == level and words in finding.detail


def test_a_model_that_no_chat_can_ask_is_told(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "model.gguf", "llama", TinyShape(template=""))
    finding = found(path)
    assert finding.level == "broken" and "ROOST_ENGINE__CHAT_TEMPLATE" in finding.detail
    template = tmp_path / "chat.jinja"

    def with_template() -> Finding:
        (finding,) = model_findings(EngineConfig(model=path, chat_template=template))
        return finding

    assert (with_template().level, "can't be read" in with_template().detail) == ("broken", True)
    template.write_text(" \n")
    assert (with_template().level, "is empty" in with_template().detail) == ("broken", True)
    template.write_text("{{ messages }}")
    assert with_template().level == "ok"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"data": [{"id": "base", "has_chat_template": False}]}, True),
        ({"data": [{"id": "base", "has_chat_template": True}]}, False),
        ({"data": [{"id": "other engines say nothing of it"}]}, False),
        ({"data": []}, False),
        ({"data": "x"}, False),
        ({}, False),
    ],
)
async def test_another_engine_whose_model_no_chat_can_ask_is_told(
    tmp_path: Path, answer: dict[str, object], told: bool
) -> None:
    async def models(request: Request) -> JSONResponse:
        return JSONResponse(answer)

    async with listening(Starlette(routes=[Route("/v1/models", models)])) as url:
        environ = {"ROOST_ENGINE__URL": f"{url}/v1"}
        settings = load_settings({"data_dir": tmp_path, "web": {"port": 0}}, environ=environ)
        findings = await asyncio.to_thread(lambda: list(template_findings(settings)))
    assert [finding.level for finding in findings] == (["broken"] if told else [])
    assert all("base has no chat template" in finding.detail for finding in findings)


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba", "lfm2"])
def test_the_names_of_kinds_are_those_of_llama_cpp(tmp_path: Path, architecture: str) -> None:
    model = bindings.load_model(write_tiny(tmp_path / "model.gguf", architecture))
    try:
        assert bindings.is_recurrent(model) is (architecture in RECURRENT)
        assert bindings.is_hybrid(model) is (architecture in HYBRID)
    finally:
        bindings.free_model(model)


def test_the_embedding_model_has_a_line_of_its_own(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "vectors.gguf", "bert", TinyShape(pooling=1))
    config = EngineConfig(embedding_model=path)
    assert [finding.name for finding in model_findings(config)] == ["model", "embedding model"]
    gone = EngineConfig(embedding_model=tmp_path / "gone.gguf")
    assert [finding.level for finding in model_findings(gone)] == ["ok", "broken"]


def keys(*values: bytes) -> bytes:
    """A GGUF header with these keys and values, and no tensors."""
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(values)) + b"".join(values)


def test_a_header_cannot_make_the_reader_take_all_memory_or_go_down_without_end(
    tmp_path: Path,
) -> None:
    key = struct.pack("<Q", 1) + b"k"
    lists = b"".join(struct.pack("<IQ", 9, 1) for _ in range(50))
    bad = {
        "a text of a terabyte": keys(key + struct.pack("<IQ", 8, 2**40)),
        "a key of a terabyte": keys(struct.pack("<Q", 2**40)),
        "a list beyond the file": keys(key + struct.pack("<IIQ", 9, 4, 2**40)),
        "lists in lists": keys(key + struct.pack("<I", 9) + lists),
        "an unknown type": keys(key + struct.pack("<I", 99)),
    }
    for name, content in bad.items():
        path = tmp_path / "model.gguf"
        path.write_bytes(content)
        with pytest.raises(NotGguf):
            read_header(path)
        assert found(path).level == "broken", name


def test_files_that_are_no_gguf_are_named(tmp_path: Path) -> None:
    whole = write_tiny(tmp_path / "whole.gguf", "llama").read_bytes()
    bad = {
        "empty": b"",
        "text": b"not a model at all, but long enough for a header",
        "cut": whole[:200],
        "many": whole[:16] + b"\xff" * 8 + whole[24:],
        "version": whole[:4] + b"\x09\0\0\0" + whole[8:],
    }
    for name, content in bad.items():
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(content)
        with pytest.raises(NotGguf):
            read_header(path)
        assert found(path).level == "broken"
    assert found(tmp_path / "missing.gguf").detail.endswith("is not a file")
