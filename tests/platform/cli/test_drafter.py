"""`roost drafter` measures a drafter, and says why it can't."""

import json
from pathlib import Path

import pytest

from roost_inference.testing.tiny_drafts import TinyDraft, write_tiny_draft
from roost_inference.testing.tiny_gguf import TinyShape, write_tiny
from roost_inference.testing.tokenwise.tiny_eagle import write_tiny_eagle
from roost_platform.testing.command_line import roost


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "target.gguf", "llama", TinyShape(layers=3))


def test_a_drafter_is_measured_by_depth(model: Path, tmp_path: Path) -> None:
    draft = write_tiny_draft(tmp_path / "draft.gguf", TinyDraft(block=4))
    done = roost("drafter", "measure", str(draft), "--model", str(model), data=tmp_path)
    assert done.returncode == 0, done.stderr
    head, *rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert head[0] == "guesses" and head[-1] == "speed"
    assert [row[0] for row in rows] == ["1", "2", "3"]
    as_json = roost(
        "drafter", "measure", str(draft), "--model", str(model), "--json", data=tmp_path
    )
    told = json.loads(as_json.stdout)
    assert told["places"] > 100 and len(told["acceptance"]) == 3
    assert all(0 <= share <= 1 for share in told["acceptance"])


def test_a_drafter_that_guesses_token_by_token_is_measured_as_well(
    model: Path, tmp_path: Path
) -> None:
    draft = write_tiny_eagle(tmp_path / "draft.gguf")
    done = roost("drafter", "measure", str(draft), "--model", str(model), "--json", data=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["places"] > 100 and len(told["acceptance"]) == 8
    assert all(0 <= share <= 1 for share in told["acceptance"])


@pytest.mark.parametrize(
    ("draft", "said"),
    [("missing.gguf", "does not exist"), ("target.gguf", "no drafter that reads hidden states")],
)
def test_what_is_no_drafter_is_refused_in_a_line(
    draft: str, said: str, model: Path, tmp_path: Path
) -> None:
    done = roost("drafter", "measure", str(tmp_path / draft), "--model", str(model), data=tmp_path)
    assert done.returncode == 1 and said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_drafter_of_another_model_is_refused_in_a_line(model: Path, tmp_path: Path) -> None:
    draft = write_tiny_draft(tmp_path / "draft.gguf", TinyDraft(taps=(0, 5)))
    done = roost("drafter", "measure", str(draft), "--model", str(model), data=tmp_path)
    assert done.returncode == 1 and "reads layer 5 of its target" in done.stderr


def test_distilling_without_its_packages_says_what_to_install(model: Path, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')\n")
    done = roost(
        *("drafter", "distill", str(model), "--out", str(tmp_path / "draft.gguf")),
        data=tmp_path,
        PYTHONPATH=str(tmp_path),
    )
    assert done.returncode == 1, done.stdout
    assert "torch is not installed: pip install 'roost[distill]'" in done.stderr
    assert not (tmp_path / "draft.gguf").exists()
