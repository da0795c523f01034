"""Makes a secret once for a data folder, whichever process is first."""

import os
import secrets
from pathlib import Path

from roost_platform.data_folder import running_stack as stack


def mint(file: Path) -> str:
    """Write a new secret for the owner only, unless another process was faster; returns what the
    file has."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    stack.write_private(scratch, secrets.token_urlsafe(32))
    try:
        os.link(scratch, file)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        scratch.replace(file)
    scratch.unlink(missing_ok=True)
    return file.read_text(encoding="ascii").strip()
