"""A figure of every frame, kept in bounded memory whatever the length of the clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curve", "Points"]

_BUCKETS = 1024
"""About as many as a wide figure has columns of pixels."""


@dataclass(frozen=True, kw_only=True)
class Points:
    """A curve as it is drawn: one entry a bucket of neighbouring frames, float64 [N]."""

    frames: NDArray[np.float64]
    """Index of each bucket's first frame."""
    low: NDArray[np.float64]
    mean: NDArray[np.float64]
    high: NDArray[np.float64]
    frames_per_point: int
    """1 as long as every frame has a point of its own."""


class Curve:
    """Takes one value a frame; keeps minimum, sum and maximum of at most 1024 buckets.

    When all are full, neighbours are merged in pairs, and each takes twice the frames from then on. No extreme is lost.
    """

    def __init__(self) -> None:
        self.count = 0
        """Values taken."""
        self._low, self._sum, self._high = (np.empty(_BUCKETS) for _ in range(3))
        self._known = np.zeros(_BUCKETS, np.int64)
        self._step = 1

    def add(self, frame: int, value: float) -> None:
        """Take the value of a frame; frames come in order, and some may have none.

        Args:
            frame: its index, not below the one before.
            value: finite.
        """
        while frame >= _BUCKETS * self._step:
            self._halve()
        at = frame // self._step
        if self._known[at] == 0:
            self._low[at] = self._sum[at] = self._high[at] = value
        else:
            self._low[at] = min(self._low[at], value)
            self._high[at] = max(self._high[at], value)
            self._sum[at] += value
        self._known[at] += 1
        self.count += 1

    def points(self) -> Points:
        """Return what was taken; buckets of which no frame had a value are left out."""
        held = np.flatnonzero(self._known)
        return Points(
            frames=(held * self._step).astype(np.float64),
            low=self._low[held],
            mean=self._sum[held] / self._known[held],
            high=self._high[held],
            frames_per_point=self._step,
        )

    def _halve(self) -> None:
        half = _BUCKETS // 2
        known = self._known > 0
        pairs = {
            "_low": np.where(known, self._low, np.inf).reshape(half, 2).min(axis=1),
            "_high": np.where(known, self._high, -np.inf).reshape(half, 2).max(axis=1),
            "_sum": np.where(known, self._sum, 0).reshape(half, 2).sum(axis=1),
            "_known": self._known.reshape(half, 2).sum(axis=1),
        }
        for name, values in pairs.items():
            getattr(self, name)[:half] = values
        self._known[half:] = 0
        self._step *= 2
