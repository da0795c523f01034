"""`roost up` and `roost doctor` say which kernels run, why, and what makes them native."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roost_inference.errors import EngineUnavailable
from roost_inference.http.report import kernels
from roost_inference.llama import builds
from roost_inference.testing.puppet import PuppetEngine
from roost_platform.settings.config import Settings, load_settings
from roost_platform.stack import probes
from roost_platform.stack.checks.kernels import kernel_findings, of_health, running, sentence

COMPILED = builds.NativeState("they are compiled now and used at the next start", is_well=True)
FAILED = builds.NativeState("a C compiler is missing", is_well=False)
MISSING = "no native kernels are installed"


def settings_of(tmp_path: Path, **variables: str) -> Settings:
    return load_settings(environ={"ROOST_DATA_DIR": str(tmp_path), **variables})


def answer_with(monkeypatch: pytest.MonkeyPatch, health: dict[str, Any]) -> None:
    monkeypatch.setattr(probes, "get_json", lambda url, **_: (200 if health else 0, health))


def health(name: str, reason: str = "", **more: object) -> dict[str, Any]:
    kernels = {"name": name, "build": f"{name} 1.0", "reason": reason, **more}
    return {"status": "ok", "kernels": kernels}


def test_native_kernels_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, health("native"))
    settings = settings_of(tmp_path)
    told = running(settings, "http://127.0.0.1:1")
    assert told is not None
    assert sentence(told) == "native kernels, native 1.0"
    [finding] = kernel_findings(settings)
    assert (finding.level, finding.detail) == ("ok", "native kernels, native 1.0")


@pytest.mark.parametrize(("is_coming", "level"), [(True, "ok"), (False, "warning")])
def test_portable_kernels_are_a_warning_where_nothing_makes_native_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_coming: bool, level: str
) -> None:
    answer_with(monkeypatch, health("portable", MISSING, native="no compiler", is_coming=is_coming))
    [finding] = kernel_findings(settings_of(tmp_path))
    assert finding.level == level
    assert finding.detail == f"portable kernels, portable 1.0; {MISSING}; no compiler"


@pytest.mark.parametrize(("state", "level"), [(COMPILED, "ok"), (FAILED, "warning")])
def test_before_the_first_start_the_doctor_says_what_becomes_of_native_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: builds.NativeState, level: str
) -> None:
    answer_with(monkeypatch, {})
    build = builds.Build("portable", "wheel", "1", tmp_path, "abc")
    monkeypatch.setattr(builds, "choose", lambda kernels: builds.Choice(build, MISSING))
    monkeypatch.setattr(builds, "native_state", lambda: state)
    [finding] = kernel_findings(settings_of(tmp_path))
    assert finding.level == level and state.detail in finding.detail
    [finding] = kernel_findings(settings_of(tmp_path, ROOST_ENGINE__KERNELS="portable"))
    assert finding.level == "ok" and state.detail not in finding.detail


@pytest.mark.parametrize("wanted", ["auto", "portable"])
def test_an_engine_tells_what_becomes_of_native_ones(
    monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setattr(builds, "wanted", lambda: wanted)
    monkeypatch.setattr(builds, "native_state", lambda: FAILED)
    model = replace(PuppetEngine().model, kernels="portable", kernels_reason=MISSING)
    told = of_health({"kernels": kernels(model)})
    assert told is not None
    assert told.is_coming is (wanted == "portable")
    assert told.native == ("" if wanted == "portable" else FAILED.detail)


def test_without_a_stack_the_doctor_says_what_would_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, {})
    build = builds.Build("native", "llama", "1", tmp_path, "abc")
    monkeypatch.setattr(builds, "choose", lambda kernels: builds.Choice(build))
    [finding] = kernel_findings(settings_of(tmp_path))
    assert finding.detail == "native kernels, llama 1 (abc)"

    def none(kernels: str) -> builds.Choice:
        raise EngineUnavailable("The portable kernels need a processor with avx2")

    monkeypatch.setattr(builds, "choose", none)
    [finding] = kernel_findings(settings_of(tmp_path))
    assert finding.level == "broken"


def test_another_engine_has_no_kernels_of_ours(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, ROOST_ENGINE__URL="http://127.0.0.1:9/v1")
    assert running(settings, "http://127.0.0.1:9") is None
    assert kernel_findings(settings) == []


@pytest.mark.parametrize("odd", [{}, {"kernels": None}, {"kernels": "fast"}, {"kernels": {}}])
def test_an_answer_without_kernels_tells_nothing(odd: dict[str, Any]) -> None:
    assert of_health(odd) is None
