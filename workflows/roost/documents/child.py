"""The process that reads one document: bounded memory and time, no secrets, no way to write."""

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any, Final

from roost.documents.formats import pieces
from roost.documents.problems import Unreadable

MEMORY_BYTES_MAX: Final = 1024 * 1024 * 1024
PR_SET_PDEATHSIG: Final = 1


def main(parent: int, chars_max: int, cpu_s: int) -> None:
    """Read the document from standard input, write its pieces as lines of JSON."""
    _limit(parent, cpu_s)
    data = sys.stdin.buffer.read()
    left = chars_max
    problem = ""
    try:
        for piece in pieces(data):
            text = piece.text[:left]
            left -= len(text)
            is_cut = piece.is_cut or len(text) < len(piece.text)
            _write({"text": text, "pages": piece.pages, "is_cut": is_cut})
            if is_cut:
                break
    except Unreadable as error:
        problem = error.problem
    except MemoryError:
        problem = "too_large"
    except Exception:  # parsers raise anything on bytes that were made to break them
        problem = "broken"
    _write({"end": problem})
    sys.stdout.flush()
    os._exit(0)


def _limit(parent: int, cpu_s: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _write(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
