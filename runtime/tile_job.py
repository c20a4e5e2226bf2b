"""Jobs of a stream around others: an item's output out of what was filtered of it, and a trial before it is decided."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from postfilter.runtime.jobs import Started

if TYPE_CHECKING:
    from postfilter.runtime.backend import Samples
    from postfilter.runtime.jobs import StreamJob

__all__ = ["SMALL", "AfterTrial", "ItemJob"]

SMALL = 0.25
"""Weight of a part that takes little time or none, see `Part.weight`: it bounds how many frames are held."""


class ItemJob:
    """A job and what is done with its result; or, without one, only that, when the turn comes.

    Args:
        job: filters planes; None where nothing is to be filtered.
        finish: takes its result, or None, and returns the item's output.
    """

    def __init__(self, job: StreamJob | None, finish: Callable[[Samples | None], Samples]) -> None:
        self._job = job
        self._finish = finish

    def start(self) -> Iterator[Started | None]:
        """See `StreamJob.start`."""
        if self._job is None:
            yield Started(_Nothing(), lambda _: self._finish(None), weight=SMALL)
            return
        for part in self._job.start():
            yield part and part.then(self._finish)


class AfterTrial:
    """A job that is chosen once something was tried, with nothing else under way that would disturb the measurement.

    Args:
        trial: tries it.
        chosen: returns the job.
    """

    def __init__(self, trial: Callable[[], object], chosen: Callable[[], StreamJob]) -> None:
        self._trial = trial
        self._chosen = chosen

    def start(self) -> Iterator[Started | None]:
        """See `StreamJob.start`."""
        yield None
        self._trial()
        yield from self._chosen().start()


class _Nothing:
    """An inference that need not be made."""

    def wait(self) -> Samples:
        return np.empty(0, dtype=np.uint8)
