"""Profiles are known by what they set, and records by machine, files, settings and kernels."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from roost_inference.config import EngineConfig
from roost_inference.errors import EngineUnavailable
from roost_inference.profiles.profile import (
    BUILT_IN,
    CUSTOM,
    key_of,
    known_profiles,
    profile_of,
)
from roost_inference.profiles.records import RECORDS_MAX, SUMS_MAX, Figures, Records

FIGURES = Figures(decode=50.0, prefill=400.0, compute_ms=900.0, load_ms=30.0, is_equal=True, at=1.0)
FACTS = {"model_sha256": "aa", "kernels": "native 1"}


def test_the_defaults_are_the_bundled_profile(tmp_path: Path) -> None:
    known = known_profiles(tmp_path)
    assert [one.name for one in known] == list(BUILT_IN)
    assert profile_of(EngineConfig(), known).name == "bundled"
    assert profile_of(EngineConfig(port=1234, queue_limit=7), known).name == "bundled"
    compact = EngineConfig(kv_type="q8_0", context_length=8192)
    assert profile_of(compact, known).name == "bundled-compact"
    assert profile_of(EngineConfig(kv_type="q8_0"), known).name == CUSTOM
    assert known[1].changes == {"kv_type": "q8_0", "context_length": 8192}


def test_a_file_is_a_profile(tmp_path: Path) -> None:
    (tmp_path / "large.toml").write_text('model = "/models/large.gguf"\nthreads = 4\n')
    large = known_profiles(tmp_path)[-1]
    assert large.name == "large"
    assert large.changes == {"model": "/models/large.gguf", "threads": 4}
    used = EngineConfig(model=Path("/models/large.gguf"), threads=4)
    assert profile_of(used, known_profiles(tmp_path)).name == "large"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("bundled", "", "the name bundled is taken"),
        ("mine", "kv_type = 5", "The profile mine: kv_type"),
        ("mine", "port = 1", "port is not part of a profile"),
        ("mine", "= =", "can't be read"),
    ],
)
def test_a_file_that_is_no_profile_is_named(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    (tmp_path / f"{name}.toml").write_text(text)
    with pytest.raises(EngineUnavailable, match=problem):
        known_profiles(tmp_path)


def test_a_record_belongs_to_files_settings_kernels_and_machine(tmp_path: Path) -> None:
    profile = known_profiles(tmp_path)[0]
    keys = {
        key_of(profile.facts(*facts))
        for facts in (("a", "", "n"), ("b", "", "n"), ("a", "d", "n"), ("a", "", "p"))
    }
    assert len(keys) == 4
    Records(tmp_path, "here").add("key", "bundled", FACTS, FIGURES)
    assert Records(tmp_path, "elsewhere").get("key") is None
    found = Records(tmp_path, "here").get("key")
    assert found is not None
    assert (found.name, found.facts, found.first) == ("bundled", FACTS, FIGURES)
    Records(tmp_path, "here").forget("key")
    assert Records(tmp_path, "here").get("key") is None


@pytest.mark.parametrize(
    ("decode", "prefill", "off"),
    [(50.0, 400.0, 0), (43.0, 450.0, 0), (42.0, 400.0, 1), (58.0, 400.0, 1), (10.0, 80.0, 2)],
)
def test_a_figure_fifteen_percent_off_its_record_is_told(
    tmp_path: Path, decode: float, prefill: float, off: int
) -> None:
    records = Records(tmp_path, "here")
    records.add("key", "bundled", FACTS, FIGURES)
    record = records.add("key", "bundled", FACTS, replace(FIGURES, decode=decode, prefill=prefill))
    assert record.first == FIGURES
    assert len(record.off()) == off
    assert all("of its record" in line for line in record.off())


def test_answers_that_part_from_the_record_are_told(tmp_path: Path) -> None:
    records = Records(tmp_path, "here")
    records.add("key", "bundled", FACTS, FIGURES)
    record = records.add("key", "bundled", FACTS, replace(FIGURES, is_equal=False))
    assert record.off() == ["answers from cache differ from computed ones"]


def test_so_many_records_and_sums_are_kept(tmp_path: Path) -> None:
    records = Records(tmp_path / "profiles", "here")
    for number in range(RECORDS_MAX + 3):
        records.add(str(number), "bundled", FACTS, FIGURES)
    assert records.get("2") is None and records.get(str(RECORDS_MAX + 2)) is not None
    for number in range(SUMS_MAX + 3):
        file = tmp_path / str(number)
        file.write_text(str(number))
        assert records.sum_of(file)
    data = json.loads((tmp_path / "profiles" / "records.json").read_text())
    assert (len(data["records"]), len(data["sums"])) == (RECORDS_MAX, SUMS_MAX)
    assert [path.name for path in (tmp_path / "profiles").iterdir()] == ["records.json"]


def test_a_changed_file_is_summed_again(tmp_path: Path) -> None:
    records, file = Records(tmp_path, "here"), tmp_path / "model"
    file.write_text("one")
    first = records.sum_of(file)
    assert records.sum_of(file) == first
    file.write_text("another")
    assert records.sum_of(file) != first


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"records": 3}', '{"records": {"here key": {"name": "x"}}}', "null"],
)
def test_damaged_records_count_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "records.json").write_text(text)
    records = Records(tmp_path, "here")
    assert records.get("key") is None
    assert records.add("key", "bundled", FACTS, FIGURES).first == FIGURES
