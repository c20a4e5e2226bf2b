"""Opening an encoder must not make the process a real-time one, which SVT-AV1 does where it may."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["scheduling_kept"]

_TASKS = Path("/proc/self/task")
"""Of Linux: holds a folder for each thread of the process."""


@contextmanager
def scheduling_kept() -> Iterator[None]:
    """Schedule the calling thread as before at the end, and so those that were started meanwhile.

    To be entered where an encoder is opened. SVT-AV1, run as root, puts its own threads and the one that opens it under
    SCHED_FIFO at the highest priority. All that this one starts later would inherit that, and nothing else on the
    machine would get to run.
    """
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
