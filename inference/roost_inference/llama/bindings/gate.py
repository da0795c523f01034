"""A gate that a decode passes after every operation: another thread may hold it there or end it."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from roost_inference.llama.bindings.library import llama

# The interpreter's lock is kept: these take a microsecond, and nobody who needs it makes them wait.
_c = ctypes.PyDLL(None)
_c.fopen.restype = ctypes.c_void_p
for _name in ("fclose", "fgetc", "feof", "clearerr", "flockfile", "funlockfile"):
    getattr(_c, _name).argtypes = (ctypes.c_void_p,)
_FEOF = ctypes.cast(_c.feof, llama.ggml_abort_callback)


class Gate:
    """A stream of the C library over /dev/null. llama.cpp's callback for aborts is `feof`: it waits
    while another thread has locked the stream, and says whether somebody has read to its end. So
    no code of Python runs between two operations."""

    def __init__(self) -> None:
        self._stream: Any = _c.fopen(b"/dev/null", b"r")
        if not self._stream:
            raise OSError("/dev/null can't be opened")

    def watch(self, context: Any) -> None:
        """Let the decodes of this context pass the gate from now on."""
        llama.llama_set_abort_callback(context, _FEOF, self._stream)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile decodes wait at the gate, as soon as they come to it. The thread that holds
        the gate computes none of them itself."""
        _c.flockfile(self._stream)
        try:
            yield
        finally:
            _c.funlockfile(self._stream)

    def end(self) -> None:
        """Decodes end when they come to the gate, until `open`."""
        _c.fgetc(self._stream)

    def open(self) -> None:
        """Let decodes pass again."""
        _c.clearerr(self._stream)

    def close(self) -> None:
        """Give the stream back; no context may watch the gate any longer. Safe to call twice."""
        if self._stream:
            _c.fclose(self._stream)
            self._stream = None
