"""Giving memory back to the system: what only reading and compiling a graph needed."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["memory_released", "release_memory"]

_MAPS = Path("/proc/self/maps")
_DONTNEED = 4  # MADV_DONTNEED, madvise(2)
_RELEASE_SECONDS = 0.005
"""Between two releases: a fraction of what compiling takes, and many times what a release takes."""


def release_memory(*libraries: str) -> int:
    """Give back free heap, and the code of libraries that is not in use; return how many bytes of code were let go.

    A process keeps each page of a library that it ever ran or read, and the code that transforms and compiles a graph
    is large: 35 MB with OpenVINO, of which an inference uses 8. Pages of code are never written, so dropping them loses
    nothing: one that is needed again is mapped again from the system's cache of the file, within microseconds. Other
    processes notice nothing. Does nothing where the system is not Linux.

    Args:
        libraries: parts of the file names of the libraries, such as `openvino`.
    """
    if not sys.platform.startswith("linux"):
        return 0
    released = 0
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for start, size in _code(libraries):
            if libc.madvise(start, size, _DONTNEED) == 0:
                released += size
        libc.malloc_trim(0)  # glibc alone has it
    return released


@contextmanager
def memory_released(*libraries: str) -> Iterator[None]:
    """Give back memory, as `release_memory`, again and again while the block runs, and once at its end.

    How much of a library a process holds while it runs through it once, as compiling does, is up to the kernel: newer
    ones map far more around each page that is asked for. So the peak stays the same on all of them.
    """
    done = threading.Event()

    def release() -> None:
        while not done.wait(_RELEASE_SECONDS):
            release_memory(*libraries)

    thread = threading.Thread(target=release, daemon=True, name="postfilter-release")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        release_memory(*libraries)


def _code(libraries: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return (address, size) of the executable, unwritable mappings of the libraries' files."""
    found = []
    for line in _MAPS.read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[1] == "r-xp" and any(each in Path(fields[5]).name for each in libraries):
            start, stop = (int(each, 16) for each in fields[0].split("-"))
            found.append((start, stop - start))
    return found
