"""`roost serve X`: find the process by its name, run it, and turn its errors into an exit code."""

import importlib
import logging
import os
from collections.abc import Callable, Mapping

from roost_platform.data_folder import settings_in_use
from roost_platform.errors import EXIT_CONFIG, ConfigError, PlatformError
from roost_platform.settings.config import Settings
from roost_platform.stack import logs
from roost_platform.stack.lifeline import SUPERVISOR_PID
from roost_platform.version import VERSION

log = logging.getLogger(__name__)

# Each module has `run(settings) -> exit code`. It is imported when it is needed: a process loads
# only its own libraries.
MODULES: Mapping[str, str] = {
    "temporal": "roost_platform.processes.temporal",
    "engine": "roost_platform.processes.engine",
    "worker": "roost_platform.processes.worker",
    "courier": "roost_platform.processes.courier",
    "web": "roost_platform.processes.web",
    "sandbox": "roost_platform.processes.sandbox",
}


def serve(part: str, settings: Settings) -> int:
    """Run the process of this name until it is told to stop; returns the exit code."""
    logs.configure(part, level=settings.log.level, json_lines=settings.log.json_lines)
    log.info("starting", extra={"version": VERSION, "pid": os.getpid()})
    if not os.environ.get(SUPERVISOR_PID):  # `roost up` keeps them for all its parts
        settings_in_use.keep(settings, part)
    try:
        run: Callable[[Settings], int] = importlib.import_module(MODULES[part]).run
        return run(settings)
    except ConfigError as error:
        log.error("%s", error)
        return EXIT_CONFIG
    except PlatformError as error:
        log.error("%s", error)
    except Exception:
        log.exception("%s failed", part)
    return 1
