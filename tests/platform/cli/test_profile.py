"""`roost profile` lists, uses and compares profiles; the doctor tells what is off its record."""

import json
from pathlib import Path
from typing import Any

import pytest

from roost_inference.llama import builds
from roost_inference.profiles.profile import key_of, known_profiles
from roost_inference.profiles.records import Figures, Records
from roost_platform.settings.config import load_settings
from roost_platform.stack import probes
from roost_platform.stack.checks.profile import figures_in_words, profile_findings
from roost_platform.testing.command_line import roost

FIGURES = Figures(decode=50.0, prefill=400.0, compute_ms=900.0, load_ms=30.0, is_equal=True, at=1.0)
WORDS = (
    "decode 50.0 and prefill 400 tokens/s, a prompt from cache 30 ms and computed 900 ms, "
    "the same answers from cache"
)


def validated(data: Path) -> None:
    """A record of the bundled profile, with a model that was converted earlier."""
    model = data / "models" / "Small.Q4_0.gguf"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"weights")
    records = Records(data / "profiles")
    build = builds.choose("auto").build.id
    facts = known_profiles(data / "profiles")[0].facts(records.sum_of(model), "", build)
    records.add(key_of(facts), "bundled", facts, FIGURES)


def test_profiles_are_listed_with_what_is_known_of_them_here(tmp_path: Path) -> None:
    validated(tmp_path)
    done = roost("profile", "list", data=tmp_path)
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in done.stdout.splitlines()[1:]}
    assert rows["bundled"] == ["in use", "the defaults", WORDS]
    assert rows["bundled-plain"] == ["", "speculation off", "not validated here"]
    rows = json.loads(roost("profile", "list", "--json", data=tmp_path).stdout)
    used = [row for row in rows if row["used"]]
    assert [row["name"] for row in used] == ["bundled"]
    assert used[0]["record"]["facts"]["kv_type"] == "f16"
    assert len(used[0]["record"]["facts"]["model_sha256"]) == 64


def test_a_profile_that_is_used_is_written_to_the_settings(tmp_path: Path) -> None:
    (tmp_path / "roost.toml").write_text("# mine\n[log]\nlevel = 'info'\n")
    done = roost("profile", "use", "bundled-compact", data=tmp_path, ROOST_ENGINE__KV_TYPE="f16")
    assert done.returncode == 0, done.stderr
    assert "ROOST_ENGINE__KV_TYPE is set and wins" in done.stderr
    text = (tmp_path / "roost.toml").read_text()
    assert text.startswith("# mine\n[log]")
    settings = load_settings({"data_dir": tmp_path}, environ={})
    assert (settings.engine.kv_type, settings.engine.context_length) == ("q8_0", 8192)
    rows = json.loads(roost("profile", "list", "--json", data=tmp_path).stdout)
    assert [row["name"] for row in rows if row["used"]] == ["bundled-compact"]
    refused = roost("profile", "use", "bundled-plain", data=tmp_path)
    assert refused.returncode == 1
    assert 'speculation = "off"' in refused.stderr
    assert (tmp_path / "roost.toml").read_text() == text


@pytest.mark.parametrize("command", ["use", "check"])
def test_an_unknown_profile_and_another_engine_are_refused(tmp_path: Path, command: str) -> None:
    done = roost("profile", command, "fast", data=tmp_path)
    assert done.returncode == 1
    assert "there are: bundled, bundled-compact, bundled-plain, custom" in done.stderr
    other = {"ROOST_ENGINE__URL": "http://127.0.0.1:9/v1"}
    done = roost("profile", command, "bundled", data=tmp_path, **other)
    assert "profiles are the bundled core's" in done.stderr


def test_a_model_that_is_not_there_can_not_be_measured(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "large.toml").write_text('model = "/nowhere/large.gguf"\n')
    done = roost("profile", "check", "large", data=tmp_path)
    assert done.returncode == 1
    assert "large can't be measured" in done.stderr and "/nowhere/large.gguf" in done.stderr


def told(monkeypatch: pytest.MonkeyPatch, profile: dict[str, Any]) -> None:
    monkeypatch.setattr(probes, "get_json", lambda url, **_: (200, {"profile": profile}))


def test_the_doctor_tells_what_is_off_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings({"data_dir": tmp_path}, environ={})
    record = {"last": {"decode": 50.0, "prefill": 400.0, "compute_ms": 900.0, "load_ms": 30.0}}
    record["last"]["is_equal"] = True
    told(monkeypatch, {"name": "bundled", "state": "done", "record": record, "off": []})
    [finding] = profile_findings(settings)
    assert (finding.level, finding.detail) == ("ok", f"bundled: {WORDS}")
    off = ["decode 30.0 tokens/s, -40% of its record 50.0", "answers from cache differ"]
    told(monkeypatch, {"name": "bundled", "state": "done", "record": record, "off": off})
    found = profile_findings(settings)
    assert [one.level for one in found] == ["warning", "warning"]
    assert "-40% of its record" in found[0].detail
    assert "roost profile check bundled --again" in found[0].detail


@pytest.mark.parametrize(
    ("state", "words"), [("waiting", "once nobody uses the engine"), ("given up", "not validated")]
)
def test_the_doctor_says_what_is_not_validated_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, words: str
) -> None:
    told(monkeypatch, {"name": "bundled", "state": state, "record": None, "off": []})
    [finding] = profile_findings(load_settings({"data_dir": tmp_path}, environ={}))
    assert finding.level == "ok"
    assert words in finding.detail and "not validated here" in finding.detail


def test_an_engine_without_a_profile_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(monkeypatch, {})
    assert profile_findings(load_settings({"data_dir": tmp_path}, environ={})) == []
    assert figures_in_words(None) == "not validated here"
