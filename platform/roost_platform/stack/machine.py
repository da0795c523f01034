"""What `roost doctor` says of this machine and of the data folder."""

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from roost_channels.kinds import Level
from roost_platform.data_folder import running_stack
from roost_platform.data_folder.engine_key import KEY_FILE
from roost_platform.settings.config import Settings

DISK_FREE_MIN = 1 << 30
MEMORY_MIN = 1 << 30
PRIVATE_FILES = (
    KEY_FILE,
    running_stack.AUDIT_KEY_FILE,
    running_stack.TOKEN_FILE,
    running_stack.RUN_FILE,
    running_stack.SETUP_FILE,
    "roost.toml",
    "roost.db",
)
SLOW_CPU = "without AVX2 answers are several times slower"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. level: ok | warning | broken."""

    name: str
    level: Level
    detail: str


def machine() -> Iterator[Check]:
    """Check Python, the processor and the memory."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Check("python", "ok" if sys.version_info >= (3, 11) else "broken", version)
    flags = _cpu_flags()
    if flags:
        fast = next((f for f in ("avx512f", "avx2", "asimd") if f in flags), "")
        detail = f"{os.cpu_count()} cores, {fast or 'no AVX2'}"
        yield Check("processor", "ok" if fast else "warning", detail if fast else SLOW_CPU)
    free = _memory_free()
    if free is not None:
        level: Level = "ok" if free > MEMORY_MIN else "warning"
        yield Check("memory", level, f"{free / 2**30:.1f} GiB free")


def data_folder(settings: Settings) -> Iterator[Check]:
    """Check the data folder: that it can be written, has room, and is private."""
    folder = settings.data_dir
    if not folder.is_dir():
        yield Check("data folder", "warning", f"{folder} does not exist yet; `roost up` makes it")
        return
    if not os.access(folder, os.W_OK):
        yield Check("data folder", "broken", f"{folder} is not writable")
        return
    free = shutil.disk_usage(folder).free
    level: Level = "ok" if free > DISK_FREE_MIN else "warning"
    yield Check("data folder", level, f"{folder}, {free / 2**30:.1f} GiB free")
    for name in PRIVATE_FILES:
        file = folder / name
        if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
            yield Check("permissions", "warning", f"others may read {file}; chmod 600 it")


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return set()
    line = next(
        (li for li in text.splitlines() if li.lower().startswith(("flags", "features"))), ""
    )
    return set(line.partition(":")[2].split())


def _memory_free() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    line = next((li for li in text.splitlines() if li.startswith("MemAvailable:")), "")
    return int(line.split()[1]) * 1024 if line else None
