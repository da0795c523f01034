"""A model or template that can't be used ends the start with a reason, never the process."""

from pathlib import Path

import pytest
from tests.inference.models.conftest import StartEngine, WriteModel

from roost_inference.errors import EngineFailed, EngineUnavailable


def test_an_encoder_is_refused_as_the_model_that_answers(
    write_model: WriteModel, start: StartEngine
) -> None:
    with pytest.raises(EngineUnavailable, match=r"bert can't write answers.*embedding_model"):
        start(write_model("bert", pooling=1))


def test_a_template_of_the_settings_replaces_that_of_the_file(
    write_model: WriteModel, start: StartEngine, tmp_path: Path
) -> None:
    own = tmp_path / "own.jinja"
    own.write_text("{{ messages[0].content }} for Lisbon")
    engine = start(write_model("llama", layers=1), chat_template=own)
    assert engine.model.chat_template == "{{ messages[0].content }} for Lisbon"


def test_a_template_that_is_missing_or_no_text_is_named(
    write_model: WriteModel, start: StartEngine, tmp_path: Path
) -> None:
    model, binary = write_model("llama", layers=1), tmp_path / "binary.jinja"
    binary.write_bytes(b"\xff\xfe\xff")
    for path in (tmp_path / "none.jinja", binary):
        with pytest.raises(EngineUnavailable, match="template can't be read"):
            start(model, chat_template=path)


def test_a_file_that_is_cut_off_is_refused_with_llama_cpps_reason(
    write_model: WriteModel, start: StartEngine
) -> None:
    model = write_model("llama", layers=1)
    model.write_bytes(model.read_bytes()[:-1000])
    with pytest.raises((EngineUnavailable, EngineFailed), match="can't be loaded"):
        start(model)
