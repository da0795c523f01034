"""Tells a process that a file was touched, by Linux's inotify."""

import contextlib
import ctypes
import errno
import os
import struct
import sys

IN_ATTRIB = 0x4
IN_MOVE_SELF = 0x800
IN_IGNORED = 0x8000
EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
READ_BYTES = 4096


def touch(path: str) -> None:
    """Tell all who watch the file. A file that is not there is told to nobody."""
    with contextlib.suppress(OSError):
        os.utime(path)


class TouchWatch:
    """A descriptor that can be read once the file was touched.

    Python has no inotify, and two calls of the C library need no dependency. Raises OSError where
    there is no inotify, no such file, or no watch left for this user.
    """

    def __init__(self, path: str) -> None:
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, "this system has no inotify")
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise _last_error()
        if (
            libc.inotify_add_watch(self._descriptor, os.fsencode(path), IN_ATTRIB | IN_MOVE_SELF)
            < 0
        ):
            error = _last_error()
            self.close()
            raise error

    def fileno(self) -> int:
        """The descriptor, for an event loop."""
        return self._descriptor

    def drain(self) -> bool:
        """Forget the touches so far; False once the file is gone or has another name."""
        is_there = True
        while True:
            try:
                events = os.read(self._descriptor, READ_BYTES)
            except BlockingIOError:
                return is_there
            at = 0
            while at < len(events):
                _, mask, _, length = EVENT.unpack_from(events, at)
                at += EVENT.size + length
                is_there = is_there and not mask & (IN_MOVE_SELF | IN_IGNORED)

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
