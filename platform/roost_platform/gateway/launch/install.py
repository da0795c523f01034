"""Finds a client, or says how its pinned version is installed, in a folder of its own."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from roost_platform.errors import PlatformError
from roost_platform.gateway.launch.client import Client


class NotInstalled(PlatformError):
    """The client is not on this machine, or could not be installed."""


def find(client: Client, folder: Path) -> Path | None:
    """The client's program: the one that was installed in this folder, else the one on PATH."""
    for pattern in client.installed:
        for program in sorted(folder.glob(pattern)):
            if program.is_file():
                return program
    on_path = shutil.which(client.program)
    return None if on_path is None else Path(on_path)


def install_commands(client: Client, folder: Path) -> Sequence[Sequence[str]]:
    """The commands that install the client's pinned version there, without scripts of packages."""
    if client.source == "npm":
        return (
            (
                *("npm", "install", "--prefix", str(folder), "--ignore-scripts"),
                *("--no-audit", "--no-fund", client.package),
            ),
        )
    python = folder / "bin" / "python"
    return (
        (sys.executable, "-m", "venv", str(folder)),
        (str(python), "-m", "pip", "install", "--only-binary", ":all:", client.package),
    )


def spelled(commands: Sequence[Sequence[str]]) -> str:
    """The commands as a shell takes them."""
    return " && ".join(shlex.join(command) for command in commands)


def install(client: Client, folder: Path) -> Path:
    """Install the client; its program. Raises NotInstalled."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for command in install_commands(client, folder):
        program = shutil.which(command[0])
        if program is None:
            raise NotInstalled(f"{client.title} needs {command[0]}, which is not on PATH.")
        done = subprocess.run((program, *command[1:]), check=False)
        if done.returncode:
            raise NotInstalled(f"`{shlex.join(command)}` ended with code {done.returncode}.")
    found = next((p for each in client.installed for p in sorted(folder.glob(each))), None)
    if found is None:
        raise NotInstalled(f"{client.package} has no program for this kind of machine.")
    return found
