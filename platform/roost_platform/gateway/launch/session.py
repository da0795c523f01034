"""Runs a client: its profile is written, the terminal is handed over, its exit code comes back."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from roost_inference.client.network import is_loopback
from roost_platform.gateway.launch.client import Profile

# Secrets of this installation, which a client and the commands it runs have no use for.
OWN_PREFIX = "ROOST_"
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
PASSED_ON = (signal.SIGTERM, signal.SIGHUP)


def environment_of(profile: Profile, given: Mapping[str, str]) -> dict[str, str]:
    """The client's environment: the person's, without what leads elsewhere, with the profile's."""
    kept = {
        name: value
        for name, value in given.items()
        if name not in profile.unset and not name.startswith(OWN_PREFIX)
    }
    return kept | dict(profile.environment)


def without_proxy(url: str, given: Mapping[str, str]) -> dict[str, str]:
    """The variables by which a client reaches a gateway on this machine past the person's proxy,
    which could not reach it, and would read the key. None where there is no proxy.
    """
    host = urlsplit(url).hostname or ""
    names = {name.lower() for name, value in given.items() if value}
    if not is_loopback(host) or names.isdisjoint(PROXIES):
        return {}
    known = [given.get(name, "") for name in ("no_proxy", "NO_PROXY")]
    hosts = [one.strip() for text in known for one in text.split(",") if one.strip()]
    direct = ",".join(dict.fromkeys([*hosts, host]))
    return {"NO_PROXY": direct, "no_proxy": direct}


def write(profile: Profile) -> None:
    """Write the profile's files, readable for their owner alone; each replaces an old one."""
    for file, text in profile.files.items():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = file.with_name(f".{file.name}.{os.getpid()}")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
        os.replace(scratch, file)


def run(program: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the client to its end on this terminal; its exit code, 128 + n after signal n.

    Ctrl-C is the client's: it reaches it through the terminal, and we wait for what it does.
    """
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        if child is None:
            early.append(number)
        elif child.poll() is None:
            child.send_signal(number)

    def leave_alone(_number: int, _: FrameType | None) -> None:
        """A handler of our own, as the client would inherit that a signal is ignored."""

    handlers = {signal.SIGINT: leave_alone, signal.SIGQUIT: leave_alone}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    before |= {number: signal.signal(number, pass_on) for number in PASSED_ON}
    try:
        child = subprocess.Popen([str(program), *arguments], env=dict(environment))
        for number in early:
            child.send_signal(number)
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code
