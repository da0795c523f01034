"""`roost serve engine`: the bundled inference core."""

import logging
import threading
from pathlib import Path

from roost_inference.errors import EngineError
from roost_inference.llama import builds
from roost_platform.data_folder.engine_key import with_engine_key
from roost_platform.errors import EXIT_CONFIG
from roost_platform.settings.config import ENGINE_PORT, Settings
from roost_platform.stack import local_ports
from roost_platform.stack.lifeline import tell_ready

PREFILL_FOLDER = "prefill"  # in the data folder

log = logging.getLogger(__name__)


def folder_of(settings: Settings) -> Path:
    """The engine's folder. Two engines may share a data folder, and never a folder of KV."""
    is_second = settings.engine.role == "prefill"
    return settings.data_dir / PREFILL_FOLDER if is_second else settings.data_dir


def run(settings: Settings) -> int:
    """Serve until SIGTERM; an engine that can't even load ends with EXIT_CONFIG."""
    engine = with_engine_key(settings).engine
    config = engine.model_copy(update={"port": engine.port or ENGINE_PORT})
    if not local_ports.is_free(config.host, config.port):
        raise local_ports.in_use(config.port, "engine")
    loaded = threading.Event()

    def on_ready() -> None:
        loaded.set()
        tell_ready()

    builds.want(config.kernels)
    try:
        from roost_inference.server import serve_engine

        serve_engine(config, folder_of(settings), on_ready=on_ready)
    except EngineError as error:
        log.error("%s", error)
        return 1 if loaded.is_set() else EXIT_CONFIG
    return 0
