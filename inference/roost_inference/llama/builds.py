"""Which builds of llama.cpp are installed, and which one runs: compiled for this processor, or
portable.

Nothing is loaded here. The native build comes from the source package, compiled by `make` in the
background; the portable one is a wheel. The native build is used only if it is whole (its files
have the sums that the installer recorded) and, where a portable one could stand in, has computed
something in a process of its own on this processor.
"""

import fcntl
import hashlib
import importlib.metadata
import os
import platform
import sys
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from roost_inference.errors import EngineUnavailable
from roost_inference.llama import trials
from roost_inference.llama.machine import kernels_folder, processor_flags

Name = Literal["native", "portable"]
CHOICES: Final = ("auto", "native", "portable")
# What the portable wheel was compiled with; other processors die of an illegal instruction.
PORTABLE_FLAGS: Final = frozenset({"avx2", "bmi2", "f16c", "fma"})
AGAIN: Final = "`make kernels` compiles them"


@dataclass(frozen=True, slots=True)
class Build:
    """An installed build. library: the file to load. digest: of all its libraries, in hex. state:
    the form in which it stores sequences; see _Source."""

    name: Name
    package: str
    version: str
    library: Path
    digest: str
    state: str = ""

    @property
    def id(self) -> str:
        """Identity of the files: two machines that compile the same source differ in it."""
        return f"{self.package} {self.version} ({self.digest[:12]})"

    @property
    def kv_id(self) -> str:
        """Identity of the KV that it computes. Builds of one source share KV, on whatever machine
        and for whatever processor they were compiled: the form of a state follows from the source,
        and other instructions only round the last bits of its numbers otherwise, as another batch
        does, too. Native and portable kernels are two sources and share none."""
        return f"{self.name} {self.package} {self.version} {self.state} {sys.byteorder}-endian"


@dataclass(frozen=True, slots=True)
class Choice:
    """The build to load, and why it is not the native one; empty for the native one."""

    build: Build
    reason: str = ""


@dataclass(frozen=True, slots=True)
class NativeState:
    """What became of compiling the native build. is_well: it is used at the next start."""

    detail: str
    is_well: bool


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a build is found: the package, its pinned version, and its libraries' names. state:
    llama.cpp's commit or number and, where it is known, LLAMA_STATE_SEQ_VERSION of its llama.h;
    they change with the pinned version."""

    name: Name
    package: str
    version: str
    libraries: str
    loaded: str
    state: str


NATIVE: Final = _Source(
    *("native", "llama-cpp-python", "0.3.36", "llama_cpp/lib/*", "libllama.*"),
    state="llama.cpp-0c1e57098 state-3",
)
PORTABLE: Final = _Source(
    *("portable", "xllamacpp", "2026.10.11549", "xllamacpp/*.so", "xllamacpp.*"),
    state="llama.cpp-b11549",
)


def want(choice: str) -> None:
    """Ask for one of CHOICES in this process, before the bindings are imported: that loads it."""
    os.environ[trials.VARIABLE] = choice


def wanted() -> str:
    """What this process was asked to load; "auto" if nothing was."""
    return os.environ.get(trials.VARIABLE) or "auto"


def choose(choice: str) -> Choice:
    """The build to load. Raises EngineUnavailable if there is none, or not the one asked for."""
    if choice not in CHOICES:
        raise EngineUnavailable(f"{choice!r} names no kernels; write one of: {', '.join(CHOICES)}")
    if choice == "portable":
        return Choice(portable(), "the setting says so")
    try:
        native = find(NATIVE)
    except EngineUnavailable as error:
        if choice == "native" or not runs_portable():
            raise
        return Choice(portable(), error.message)
    problem = (
        ""
        if choice == "native" or not runs_portable()
        else trials.problem(native.name, native.digest)
    )
    return Choice(portable(), problem) if problem else Choice(native)


def portable() -> Build:
    """The portable build. Raises EngineUnavailable if it is missing or can't run here."""
    if missing := missing_flags():
        raise EngineUnavailable(
            f"The portable kernels need a processor with {', '.join(sorted(missing))}; {AGAIN}"
        )
    return find(PORTABLE)


def runs_portable() -> bool:
    """Whether the portable build is here and can run on this processor."""
    try:
        portable()
    except EngineUnavailable:
        return False
    return True


def find(source: _Source, *, sums: bool = True) -> Build:
    """The installed build; without `sums` only the sizes of its files are compared. Raises
    EngineUnavailable if it is absent, another version or broken."""
    try:
        distribution = importlib.metadata.distribution(source.package)
        version, files = distribution.version, distribution.files or []
    except (importlib.metadata.PackageNotFoundError, OSError, KeyError) as error:
        raise EngineUnavailable(f"no {source.name} kernels are installed") from error
    check_version(source, version)
    digest, found = hashlib.sha256(), None
    for file in sorted(file for file in files if file.match(source.libraries)):
        path = Path(str(file.locate()))
        recorded = file.hash.value if file.hash else ""
        if not _is_whole(path, file.size, recorded if source is NATIVE and sums else ""):
            raise EngineUnavailable(f"the {source.name} kernels are not whole: {path}")
        digest.update(f"{file} {recorded or file.size}\n".encode())
        if file.match(source.loaded) and file.suffix in (".so", ".dylib"):
            found = path
    if found is None:
        raise EngineUnavailable(f"{source.package} is installed without its library")
    return Build(source.name, source.package, version, found, digest.hexdigest(), source.state)


def check_version(source: _Source, version: str) -> None:
    """Raise EngineUnavailable unless it is the version these bindings were written for."""
    if version != source.version:
        raise EngineUnavailable(
            f"{source.package} {version} is installed, this build needs {source.version}: "
            "its ABI changes between versions. Install the locked requirements."
        )


def _is_whole(path: Path, size: int | None, recorded: str) -> bool:
    """Whether the file has the recorded size and, if given, the sum: sha256 in URL-safe base64."""
    try:
        if size is not None and path.stat().st_size != size:
            return False
        if not recorded:
            return path.is_file()
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return False
    return actual == urlsafe_b64decode(recorded + "=" * (-len(recorded) % 4))


def missing_flags() -> frozenset[str]:
    """What the processor lacks for the portable build; none where nothing tells."""
    flags = processor_flags()
    if platform.machine() != "x86_64" or not flags:
        return frozenset()
    return PORTABLE_FLAGS - flags


def native_state() -> NativeState:
    """What became of the native build: it is compiled now, failed and why, or nobody began."""
    if _is_compiling():
        return NativeState("they are compiled now and used at the next start", is_well=True)
    try:
        state, _, reason = (kernels_folder() / "state").read_text().partition("\n")
    except OSError:
        return NativeState(AGAIN, is_well=False)
    if state == "ready":
        if _is_known_to_fail():
            return NativeState(f"{AGAIN} again", is_well=False)
        return NativeState("they are compiled and used at the next start", is_well=True)
    if state == "failed":
        detail = " ".join(reason.split()) or f"compiling them failed; {AGAIN}"
        return NativeState(detail, is_well=False)
    return NativeState(f"compiling them was interrupted; {AGAIN}", is_well=False)


def _is_known_to_fail() -> bool:
    """Whether the installed native build failed its trial here, or is not whole by its sizes."""
    try:
        return bool(trials.remembered(find(NATIVE, sums=False).digest))
    except EngineUnavailable:
        return True


def _is_compiling() -> bool:
    """Whether `.ci/kernels` holds its lock."""
    try:
        with (kernels_folder() / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def main(wanted: str) -> int:
    """`make` asks what can run: 0 if "portable" kernels can, or if "native" ones do."""
    if wanted == "portable":
        return 0 if runs_portable() else 1
    try:
        choice = choose("auto")
    except EngineUnavailable as error:
        print(error.message)
        return 1
    print(choice.reason)
    return 0 if choice.build.name == "native" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
