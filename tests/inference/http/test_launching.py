"""How the engine's process is started, and what it gets by that."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from roost_inference.process_environment import launch_environment

THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def huge_mib(**environment: str) -> int:
    """MiB in huge pages that a process has which takes and fills 64 MiB."""
    look = (
        "import ctypes, re\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "memory = libc.malloc(ctypes.c_size_t(64 << 20))\n"
        "ctypes.memset(memory, 1, 64 << 20)\n"
        "smaps = open('/proc/self/smaps').read()\n"
        "print(sum(map(int, re.findall(r'AnonHugePages: +([0-9]+)', smaps))) >> 10)\n"
    )
    clean = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
    told = subprocess.run(
        [sys.executable, "-c", look],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(told.stdout)


def test_its_memory_is_in_huge_pages_where_the_system_leaves_that_to_programs() -> None:
    mode = re.search(r"\[(\w+)\]", THP.read_text()) if THP.exists() else None
    expected = mode is not None and mode[1] != "never"
    assert (huge_mib(**launch_environment({})) >= 32) == expected


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ({}, {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}),
        (
            {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"},
            {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"},
        ),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, {}),
    ],
)
def test_what_somebody_has_set_stays(given: dict[str, str], added: dict[str, str]) -> None:
    assert launch_environment(given) == added
