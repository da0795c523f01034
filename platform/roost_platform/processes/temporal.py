"""`roost serve temporal`: the bundled Temporal server as a child process."""

import signal
import subprocess
import sys

from roost_platform.settings.config import Settings
from roost_platform.stack.lifeline import die_with_parent
from roost_workflows.server.devserver import (
    find_binary,
    lock_data,
    server_environment,
    temporal_command,
)


def run(settings: Settings) -> int:
    """Serve until SIGTERM. The server dies with this process, and its exit code is returned."""
    port = int(settings.temporal_address.rpartition(":")[2])
    with lock_data(settings.data_dir) as held:
        command = temporal_command(find_binary(), settings.data_dir, port)
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            env=server_environment(),
            pass_fds=[held.fileno()],
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
        )
        stopping = False

        def stop(_number: int, _frame: object) -> None:
            nonlocal stopping
            stopping = True
            child.terminate()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        code = child.wait()
    return 0 if stopping else (code or 1)
