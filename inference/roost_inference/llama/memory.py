"""Whether KV caches fit into memory: llama.cpp zeroes them, so all of it is taken at once."""

import logging
from typing import Any

from roost_inference.errors import EngineUnavailable
from roost_inference.llama import bindings
from roost_inference.llama.machine import available_memory_bytes

# The compute buffers and the logits need memory, too; with less than this left they may not fit.
MEMORY_MARGIN_BYTES = 256 * 2**20
# Streams are for sequences side by side: fewer are not worth a context. Cells come in steps of 256.
STREAMS_MIN = 4
STREAM_CELLS_STEP = 256
# A stream has at least so many cells. By default there are so many streams of more cells, in at
# most this part of the free memory.
STREAM_CELLS_MIN = 512
STREAMS_DEFAULT, STREAM_CELLS_DEFAULT = 16, 2048
STREAMS_SHARE = 0.125

log = logging.getLogger(__name__)


def missing_memory(model: Any, cells: int, kv_type: str, share: float = 1.0) -> str:
    """What is missing for a context of this many cells, in words; empty if this share of the free
    memory is enough."""
    needed = cells * bindings.kv_bytes_per_cell(model, kv_type) + MEMORY_MARGIN_BYTES
    free = available_memory_bytes()
    if free is None or needed <= free * share:
        return ""
    return (
        f"A context of {cells} tokens needs {needed / 2**30:.1f} GiB, only "
        f"{free * share / 2**30:.1f} GiB are free."
    )


def check_memory(model: Any, cells: int, kv_type: str) -> None:
    """Raise EngineUnavailable for a cache that does not fit: the operating system would kill the
    process."""
    if missing := missing_memory(model, cells, kv_type):
        raise EngineUnavailable(f"{missing} Set a smaller engine context_length.")


def has_memory_to_spare(model: Any, cells: int, kv_type: str, who_gets: str) -> bool:
    """Whether there is memory for a context that is not necessary: half of the free memory stays
    free. If not, the log says who gets none."""
    if missing := missing_memory(model, cells, kv_type, share=0.5):
        log.warning("%s no context of their own: %s", who_gets, missing)
    return not missing


def stream_sizes(
    model: Any, kv_type: str, *, memory: int | None, answers: int, longest: int
) -> tuple[int, int]:
    """How many streams, and cells of each; (0, 0) for none.

    memory: bytes for all of them, None for the default; answers: how many are written at once at
    most; longest: tokens of the longest request.
    """
    per_cell = bindings.kv_bytes_per_cell(model, kv_type)
    if memory is None:
        free = available_memory_bytes()
        answers = min(answers, STREAMS_DEFAULT)
        memory = answers * STREAM_CELLS_DEFAULT * per_cell
        memory = memory if free is None else min(memory, int(free * STREAMS_SHARE))
    least = min(STREAM_CELLS_MIN, _rounded(longest, up=True))
    streams = min(answers, memory // (least * per_cell))
    if streams < STREAMS_MIN:
        return 0, 0
    cells = _rounded(memory // (streams * per_cell), up=False)
    return streams, min(cells, _rounded(longest, up=True))


def _rounded(cells: int, *, up: bool) -> int:
    more = STREAM_CELLS_STEP - 1 if up else 0
    return (cells + more) // STREAM_CELLS_STEP * STREAM_CELLS_STEP
