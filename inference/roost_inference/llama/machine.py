"""The cores and the memory that this process may use, container limits included."""

import functools
import os
import sys
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")


def physical_cores() -> int:
    """Cores this process may use, hyper-threads counted once, a CPU quota respected."""
    try:
        allowed = sorted(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return max(1, os.cpu_count() or 1)
    siblings = {_first_sibling(cpu) for cpu in allowed}
    return max(1, min(len(siblings), _quota_cores(len(allowed))))


@functools.cache
def processor_flags() -> frozenset[str]:
    """The instruction sets of the processor; empty where the system does not tell."""
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


@functools.cache
def processor_name() -> str:
    """What the processor calls itself; empty where the system does not tell."""
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return ""


def total_memory_bytes() -> int | None:
    """Bytes of memory of the machine; None where the system does not tell."""
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def kernels_folder() -> Path:
    """Where `make` notes how the compilation of the kernels goes, beside what it installs."""
    return Path(sys.prefix) / "kernels"


def available_memory_bytes() -> int | None:
    """Bytes that can be allocated without swapping; None where the system does not tell."""
    free = _meminfo_available_bytes()
    limit, used = (_cgroup_bytes(name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        left = max(limit - used, 0)
        return left if free is None else min(free, left)
    return free


def _first_sibling(cpu: int) -> str:
    text = _read(_CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list")
    return text or str(cpu)


def _quota_cores(default: int) -> int:
    parts = _read(_CGROUP / "cpu.max").split()
    if len(parts) != 2 or parts[0] == "max":
        return default
    return max(1, int(parts[0]) // int(parts[1]))


def _cgroup_bytes(name: str) -> int | None:
    text = _read(_CGROUP / name)
    return int(text) if text.isdigit() else None


def _meminfo_available_bytes() -> int | None:
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _read(path: Path) -> str:
    """The file's text, empty where the system has no such file."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
