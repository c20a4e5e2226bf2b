"""Opening an encoder must leave the process as it was: SVT-AV1 prints its settings and takes real-time priority."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["opening_encoder"]

_TASKS = Path("/proc/self/task")
"""Of Linux: holds a folder for each thread of the process."""


@contextmanager
def opening_encoder() -> Iterator[None]:
    """Keep an encoder silent that is opened within, and all threads scheduled as they were.

    SVT-AV1 prints its settings, unless it is told before its first use in a process. Run as root, it also puts its own
    threads and the one that opens it under SCHED_FIFO at the highest priority. All that this one starts later would
    inherit that, and nothing else on the machine would get to run.
    """
    os.environ.setdefault("SVT_LOG", "1")
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    others = _threads()
    try:
        yield
    finally:
        for thread in {0, *(_threads() - others)}:  # 0 is the calling thread
            with suppress(ProcessLookupError):  # it has ended
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, priority)


def _threads() -> set[int]:
    return {int(each.name) for each in _TASKS.iterdir()} if _TASKS.is_dir() else set()
