"""`python -m roost_inference.llama.trial`: compute a little with a build of the kernels, or die.

A build for another processor ends the process at its first wrong instruction, so it is tried where
that harms nobody. ROOST_ENGINE__KERNELS names the build.
"""

import ctypes
import sys

import numpy as np

from roost_inference.backend import DecodeStatus
from roost_inference.batch import Batch
from roost_inference.errors import EngineError
from roost_inference.llama.trials import WRONG

ROWS = 48


def main() -> int:
    """Read a short prompt and one more token with the bundled model; WRONG for nonsense."""
    try:
        from roost_inference.llama import bindings
        from roost_inference.llama.context import LlamaContext
        from roost_inference.llama.quantize import bundled_model
    except EngineError as error:
        print(error.message, file=sys.stderr)
        return WRONG
    try:
        path = bundled_model()
    except EngineError:
        return 0  # it loads and has the right layout; there is nothing to compute with
    flag = ctypes.create_string_buffer(2)  # the context reads it as long as it lives
    model = bindings.load_model(path)
    context = LlamaContext(
        model,
        cells=256,
        sequences=1,
        batch_tokens=64,
        outputs=2,
        threads=1,
        kv_type="f16",
        abort_flag=flag,
    )
    for start, rows in ((0, ROWS), (ROWS, 1)):
        batch = Batch(64)
        batch.add(range(100 + start, 100 + start + rows), start, 0, output=True)
        if context.decode(batch) is not DecodeStatus.DONE:
            print("the kernels computed nothing", file=sys.stderr)
            return 1  # they were interrupted, or memory was short: the next start tries again
        logits = context.logits(rows - 1)
        if not np.isfinite(logits).all() or float(np.ptp(logits)) == 0.0:
            print("the kernels computed nonsense", file=sys.stderr)
            return WRONG
    context.close()
    bindings.free_model(model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
