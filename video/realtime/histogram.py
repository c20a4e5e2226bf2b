"""Percentiles of a stream that never ends, in constant memory."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["Histogram"]

_LEAST = 1e-5
_BINS_PER_DECADE = 232
"""One per cent apart."""
_DECADES = 9


class Histogram:
    """Counts durations from 10 µs to 10,000 s in bins one per cent wide."""

    def __init__(self) -> None:
        self.count = 0
        self._bins = np.zeros(_BINS_PER_DECADE * _DECADES, np.int64)

    def add(self, seconds: float) -> None:
        """Count one duration; what is out of range goes into the nearest bin."""
        place = int(_BINS_PER_DECADE * math.log10(max(seconds, _LEAST) / _LEAST))
        self._bins[min(place, len(self._bins) - 1)] += 1
        self.count += 1

    def percentile(self, percent: float) -> float:
        """Return the duration in seconds that `percent` of those counted do not exceed, to one per cent; 0 if none."""
        if not self.count:
            return 0.0
        rank = max(1, math.ceil(self.count * percent / 100))
        place = int(np.searchsorted(np.cumsum(self._bins), rank))
        return float(_LEAST * 10 ** ((place + 0.5) / _BINS_PER_DECADE))
