"""Tries a build of the kernels in a process of its own, once for each build and processor."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

from roost_inference.llama.machine import kernels_folder, processor_flags

VARIABLE: Final = "ROOST_ENGINE__KERNELS"  # as the setting `kernels` is named in the environment
TRIAL_S: Final = 120.0
TRIALS_KEPT: Final = 16
WRONG: Final = 3  # exit status of a trial that computed nonsense
# Ends of a trial that say something of the build; others, such as too little memory, do not.
FATAL_SIGNALS: Final = (signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE)


def problem(name: str, digest: str) -> str:
    """Why this build can't be used on this processor; empty if it computes well. Remembered."""
    key, known = _key(digest), _known()
    if key not in known:
        found, is_sure = _try(name)
        if not is_sure:
            return found
        known = dict([*known.items(), (key, found)][-TRIALS_KEPT:])
        _keep(known)
    return known[key]


def remembered(digest: str) -> str:
    """What an earlier trial on this processor found wrong; empty for nothing or no trial."""
    return _known().get(_key(digest), "")


def _key(digest: str) -> str:
    text = f"{digest} {sorted(processor_flags())}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _try(name: str) -> tuple[str, bool]:
    """Compute something with the build in a process of its own: the problem, and whether it is
    the build's own."""
    command = [sys.executable, "-m", "roost_inference.llama.trial"]
    env = {**os.environ, VARIABLE: name, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=TRIAL_S)
    except subprocess.TimeoutExpired:
        return f"the {name} kernels did not finish a trial in {TRIAL_S:.0f} s", False
    except OSError as error:
        return f"the {name} kernels could not be tried: {error}", False
    if done.returncode == 0:
        return "", True
    last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
    if -done.returncode in FATAL_SIGNALS:
        end = signal.Signals(-done.returncode).name
        return f"the {name} kernels die of {end} on this processor", True
    is_wrong = done.returncode == WRONG
    return f"the {name} kernels failed their trial: {last}", is_wrong


def _known() -> Mapping[str, str]:
    try:
        known = json.loads((kernels_folder() / "trials.json").read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _keep(known: Mapping[str, str]) -> None:
    """Remember them; an environment that can't be written tries again at each start."""
    part = kernels_folder() / f"trials.{os.getpid()}.part"
    try:
        kernels_folder().mkdir(exist_ok=True)
        part.write_text(json.dumps(known))
        part.replace(kernels_folder() / "trials.json")
    except OSError:
        return
