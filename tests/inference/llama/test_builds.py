"""The build of the kernels that runs is whole and works here, or the portable one stands in."""

import fcntl
import hashlib
import json
import re
import signal
import subprocess
import sys
from base64 import urlsafe_b64encode
from dataclasses import replace
from pathlib import Path

import pytest

from roost_inference.errors import EngineUnavailable
from roost_inference.llama import builds, machine, trials
from roost_inference.llama.backend import identity_of
from roost_inference.llama.bindings import declarations
from roost_inference.llama.bindings.library import CONTEXT_PARAMS_BYTES

CPU = frozenset({"avx2", "bmi2", "f16c", "fma", "avx512f"})


class Packages:
    """A folder of installed packages, with records as pip writes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, source: builds._Source, name: str, content: bytes, version: str = "") -> Path:
        version = version or source.version
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        info = self.folder / f"{source.package.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        digest = urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        (info / "METADATA").write_text(f"Name: {source.package}\nVersion: {version}\n")
        (info / "RECORD").write_text(f"{name},sha256={digest},{len(content)}\n")
        return path

    def native(self, version: str = "") -> Path:
        return self.install(builds.NATIVE, "llama_cpp/lib/libllama.so", b"native", version)

    def portable(self) -> Path:
        return self.install(builds.PORTABLE, "xllamacpp/xllamacpp.abi3.so", b"portable")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packages:
    monkeypatch.setattr(sys, "path", [str(tmp_path / "packages")])
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr(builds, "processor_flags", lambda: CPU)
    monkeypatch.setattr(trials, "processor_flags", lambda: CPU)
    monkeypatch.setattr(trials, "_try", lambda name: ("", True))
    machine.kernels_folder().mkdir(parents=True)
    return Packages(tmp_path / "packages")


def test_a_whole_native_build_runs(packages: Packages) -> None:
    library = packages.native()
    packages.portable()
    chosen = builds.choose("auto")
    assert (chosen.build.name, chosen.build.library, chosen.reason) == ("native", library, "")


def test_a_native_build_alone_runs_without_a_trial(
    packages: Packages, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.native()
    monkeypatch.setattr(trials, "_try", lambda name: pytest.fail("nothing could stand in"))
    assert builds.choose("auto").build.name == "native"


@pytest.mark.parametrize("harm", ["cut", "changed", "gone", "no record", "older"])
def test_a_native_build_that_is_not_whole_never_breaks_a_start(
    packages: Packages, harm: str
) -> None:
    library = packages.native("0.3.35" if harm == "older" else "")
    packages.portable()
    if harm == "cut":
        library.write_bytes(b"nat")
    elif harm == "changed":
        library.write_bytes(b"NATIVE")
    elif harm == "gone":
        library.unlink()
    elif harm == "no record":
        next(packages.folder.glob("llama_cpp_python-*/RECORD")).unlink()
    chosen = builds.choose("auto")
    assert chosen.build.name == "portable"
    assert chosen.reason
    with pytest.raises(EngineUnavailable):
        builds.choose("native")


def test_a_build_that_dies_on_this_processor_is_tried_once_and_left(
    packages: Packages, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.native()
    packages.portable()
    tried = []

    def dies(name: str) -> tuple[str, bool]:
        tried.append(name)
        return "the native kernels die of SIGILL on this processor", True

    monkeypatch.setattr(trials, "_try", dies)
    for _ in range(3):
        chosen = builds.choose("auto")
        assert chosen.build.name == "portable"
        assert "SIGILL" in chosen.reason
    assert tried == ["native"]
    (machine.kernels_folder() / "state").write_text("ready\n")
    assert not builds.native_state().is_well
    monkeypatch.setattr(trials, "processor_flags", lambda: CPU | {"avx512bw"})
    builds.choose("auto")
    assert len(tried) == 2  # another processor, another trial


def test_a_trial_that_ran_out_of_time_says_nothing_for_the_next_start(
    packages: Packages, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.native()
    packages.portable()
    monkeypatch.setattr(trials, "_try", lambda name: ("it took too long", False))
    assert builds.choose("auto").build.name == "portable"
    monkeypatch.setattr(trials, "_try", lambda name: ("", True))
    assert builds.choose("auto").build.name == "native"


def test_so_many_trials_are_remembered(packages: Packages) -> None:
    for number in range(trials.TRIALS_KEPT + 5):
        assert trials.problem("native", str(number)) == ""
    kept = json.loads((machine.kernels_folder() / "trials.json").read_text())
    assert len(kept) == trials.TRIALS_KEPT


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_damaged_notes_of_trials_are_made_anew(packages: Packages, text: str) -> None:
    (machine.kernels_folder() / "trials.json").write_text(text)
    assert trials.problem("native", "abc") == ""


@pytest.mark.parametrize(
    ("script", "problem", "is_sure"),
    [
        ("import os; os.kill(os.getpid(), 4)", "die of SIGILL", True),
        ("import sys; sys.exit('nonsense')", "failed their trial: nonsense", False),
        ("import sys; print('odd', file=sys.stderr); sys.exit(3)", "trial: odd", True),
        ("import os; os.kill(os.getpid(), 9)", "failed their trial", False),
    ],
)
def test_how_a_trial_ends_tells_whether_the_build_is_to_blame(
    monkeypatch: pytest.MonkeyPatch, script: str, problem: str, is_sure: bool
) -> None:
    run = subprocess.run

    def instead(command: list[str], **options: object) -> object:
        return run([command[0], "-c", script], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", instead)
    found, sure = trials._try("native")
    assert problem in found
    assert sure is is_sure
    assert signal.SIGKILL not in trials.FATAL_SIGNALS


def test_a_processor_without_avx2_gets_no_portable_kernels(
    packages: Packages, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.portable()
    monkeypatch.setattr(builds, "processor_flags", lambda: frozenset({"sse4_2"}))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert not builds.runs_portable()
    with pytest.raises(EngineUnavailable, match="a processor with avx2, bmi2, f16c, fma"):
        builds.choose("portable")
    with pytest.raises(EngineUnavailable, match="no native kernels are installed"):
        builds.choose("auto")
    packages.native()
    assert builds.choose("auto").build.name == "native"


def test_what_became_of_the_native_build_is_told(packages: Packages) -> None:
    state = machine.kernels_folder() / "state"
    assert builds.native_state() == builds.NativeState("`make kernels` compiles them", False)
    state.write_text("building\n")
    assert "interrupted" in builds.native_state().detail
    with (machine.kernels_folder() / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert builds.native_state().is_well
        packages.portable()
        assert "compiled now" in builds.native_state().detail
    state.write_text("failed\na C compiler is missing\n")
    assert builds.native_state() == builds.NativeState("a C compiler is missing", False)
    packages.native()
    state.write_text("ready\n")
    assert builds.native_state().is_well


def test_every_function_that_the_bindings_use_is_declared() -> None:
    """A new one needs a line in declarations.FUNCTIONS: both builds are bound by it."""
    used = {
        name
        for path in Path(declarations.__file__).parent.glob("*.py")
        for name in re.findall(r"\bllama\.((?:llama|ggml)_\w+)", path.read_text())
    }
    special = {"llama_context_default_params", "llama_init_from_model", "llama_batch"}
    callbacks = {"ggml_abort_callback", "llama_log_callback"}
    known = {*declarations.FUNCTIONS, *declarations.NATIVE_FUNCTIONS}
    assert used - special - callbacks <= known


def test_the_setting_takes_either_build(packages: Packages) -> None:
    packages.native()
    packages.portable()
    assert builds.choose("portable").build.name == "portable"
    assert builds.choose("native").build.name == "native"
    with pytest.raises(EngineUnavailable, match="names no kernels"):
        builds.choose("fast")


def test_kv_of_one_build_is_never_used_by_the_other(
    packages: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.native()
    packages.portable()
    model = tmp_path / "model.gguf"
    model.write_bytes(b"weights")
    identities = set()
    for name in ("native", "portable"):
        chosen = builds.choose(name)
        monkeypatch.setattr("roost_inference.llama.bindings.library.chosen", chosen)
        identities.add(identity_of(model, "f16"))
    assert len(identities) == len(CONTEXT_PARAMS_BYTES) == 2


def test_two_machines_that_compile_one_source_share_kv(
    packages: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"weights")
    files, identities = set(), set()
    for content in (b"compiled in /tmp/pip-1", b"compiled in /tmp/pip-2"):
        packages.install(builds.NATIVE, "llama_cpp/lib/libllama.so", content)
        build = builds.choose("native").build
        monkeypatch.setattr("roost_inference.llama.bindings.library.chosen", builds.Choice(build))
        files.add(build.id)
        identities.add(identity_of(model, "f16"))
    assert len(files) == 2 and len(identities) == 1
    other = replace(build, state="another commit")
    monkeypatch.setattr("roost_inference.llama.bindings.library.chosen", builds.Choice(other))
    assert identity_of(model, "f16") not in identities
