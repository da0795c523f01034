"""Local ports: which are free, which are in use, and by whom."""

import os
import socket
from pathlib import Path

from roost_platform.errors import PortInUse

LISTEN = "0A"  # state of a listening socket in /proc/net/tcp


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def owner(port: int) -> str:
    """Who listens on a port, as `python3 (pid 123)`; empty where the system does not tell."""
    inodes = _listening_inodes(port)
    if not inodes:
        return ""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        if _holds(process, inodes):
            name = _read(process / "comm").strip() or "a process"
            return f"{name} (pid {process.name})"
    return ""


def in_use(port: int, part: str) -> PortInUse:
    """The error for a port that another process has; `part` is the process that needs it."""
    by = owner(port)
    return PortInUse(f"Port {port} ({part}) is in use{f' by {by}' if by else ''}.")


def _listening_inodes(port: int) -> set[str]:
    wanted = f":{port:04X}"
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in _read(Path(table)).splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(wanted) and fields[3] == LISTEN:
                inodes.add(f"socket:[{fields[9]}]")
    return inodes


def _holds(process: Path, inodes: set[str]) -> bool:
    try:
        return any(os.readlink(entry) in inodes for entry in (process / "fd").iterdir())
    except OSError:  # it ended meanwhile, or belongs to another user
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
