"""What the samples of each tile do, before and after filtering: mean, detail and difference."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from postfilter.video.pixels import Plane

__all__ = ["TileStatistics", "tile_spans", "tile_statistics"]

_TILE = 64
_ROW_STEP = 5
"""All but the largest change is of every fifth row, which is what makes it cheap. The step is odd: networks that
compute 2x2 or 4x4 samples at once can fail in one row of these, and every fifth row meets them all."""
_BAND_BYTES = 512 * 1024
"""So much is worked on at a time: it stays in the cache, and is memory that the process has already."""

Figures = NDArray[np.float64]


class TileStatistics:
    """Of each tile of each plane: float64 [N, C, rows, columns], in code values.

    Args:
        figures: [N, C, 5, rows, columns], what the properties return.
        largest_change: the largest difference between before and after of any sample.
    """

    def __init__(self, figures: Figures, largest_change: int) -> None:
        self.largest_change = largest_change
        self._figures = figures

    @property
    def change(self) -> Figures:
        """Mean absolute difference between before and after."""
        return self._figures[:, :, 0]

    @property
    def mean_before(self) -> Figures:
        """Mean of what went in."""
        return self._figures[:, :, 1]

    @property
    def mean_after(self) -> Figures:
        """Mean of what came out."""
        return self._figures[:, :, 2]

    @property
    def detail_before(self) -> Figures:
        """Mean sum of the absolute differences to the right and the lower neighbour, of what went in.

        Sums count as no more than the type's largest value; where a plane has one row or column they are 0.
        """
        return self._figures[:, :, 3]

    @property
    def detail_after(self) -> Figures:
        """The same of what came out."""
        return self._figures[:, :, 4]

    def averaged(self, tiles: NDArray[np.bool_]) -> TileStatistics:
        """Return averages over all channels of the chosen tiles [N, rows, columns]: [N, 1, 1, 1]; 0 where none is."""
        channels = self._figures.shape[1]
        count = np.maximum(tiles.sum(axis=(1, 2)) * channels, 1)
        sums = np.einsum("ncfij,nij->nf", self._figures, tiles)
        return TileStatistics((sums / count[:, None])[:, None, :, None, None], self.largest_change)


def tile_spans(length: int) -> list[tuple[int, int]]:
    """Return (start, stop) of the tiles along an axis.

    They have 64 samples. What remains is a tile of its own from 32 samples on, else part of its neighbour.
    """
    starts = range(0, max(length - _TILE // 2 + 1, 1), _TILE)
    return list(zip(starts, [*starts[1:], length], strict=True))


def tile_statistics(before: Plane, after: Plane) -> TileStatistics:
    """Measure every tile; what that costs grows with the area alone.

    Args:
        before: uint8 or uint16 [N, C, H, W], as `after`.
        after: the same shape.
    """
    import cv2

    frames, channels, height, width = before.shape
    tops, lefts, areas = _geometry(height, width)
    largest = cv2.norm(before.reshape(-1, width), after.reshape(-1, width), cv2.NORM_INF)
    planes = (each.reshape(-1, height, width) for each in (before, after))
    sums = np.stack([_row_sums(old, new) for old, new in zip(*planes, strict=True)])
    totals = np.add.reduceat(sums, tops, axis=2)
    if len(lefts) < totals.shape[3]:
        totals = np.add.reduceat(totals, lefts, axis=3)
    return TileStatistics((totals / areas).reshape(frames, channels, *areas.shape), int(largest))


@functools.lru_cache(maxsize=8)
def _geometry(height: int, width: int) -> tuple[list[int], list[int], Figures]:
    """Where tiles start: which of the rows that are looked at, which 64 columns; samples summed."""
    spans, columns = tile_spans(height), tile_spans(width)
    tops = [-(-top // _ROW_STEP) for top, _ in spans]
    wide = np.array([stop - start for start, stop in columns])
    # The last column has no neighbour to its right.
    pairs = np.maximum(np.append(wide[:-1], wide[-1] - 1), 1)
    seen = np.diff([*tops, _few(height)])[:, None]
    areas = np.stack([seen * each for each in (wide, wide, wide, pairs, pairs)]).astype(np.float64)
    return tops, [start // _TILE for start, _ in columns], areas


def _few(height: int) -> int:
    """How many rows are looked at: the last of a plane has no neighbour below."""
    return -(-max(height - 1, 1) // _ROW_STEP)


def _row_sums(old: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
    """Sums of each 64 columns of every fifth row: [change, before, after, detail before and after; rows, W / 64]."""
    import cv2

    height, width = old.shape
    columns, pairs = -(-width // _TILE), width - 1 if height > 1 else 0
    # OpenCV sums bytes into integers and longer samples into floats, which hold as many as a tile has exactly.
    kind = cv2.CV_32S if old.dtype == np.uint8 else cv2.CV_32F
    lines = min(_few(height), max(1, _BAND_BYTES // (5 * width * old.itemsize)))
    seen = np.zeros((5, lines, columns * _TILE), old.dtype)
    below = np.empty((lines, pairs), old.dtype)
    sums = []
    for first in range(0, _few(height), lines):
        band = seen[:, : _few(height) - first]
        count = band.shape[1]
        change, before, after = band[:3, :, :width]
        for plane, rows, detail in zip((old, new), (before, after), band[3:, :, :pairs], strict=True):
            rows[...] = plane[_ROW_STEP * first :: _ROW_STEP][:count]
            if pairs:
                here, under = rows[:, :pairs], plane[_ROW_STEP * first + 1 :: _ROW_STEP, :pairs][:count]
                cv2.absdiff(rows[:, 1:], here, dst=detail)
                cv2.add(detail, cv2.absdiff(under, here, dst=below[:count]), dst=detail)
        cv2.absdiff(before, after, dst=change)
        total = cv2.reduce(np.ascontiguousarray(band).reshape(-1, _TILE), 1, cv2.REDUCE_SUM, dtype=kind)
        sums.append(np.asarray(total).reshape(5, count, columns))
    return sums[0] if len(sums) == 1 else np.concatenate(sums, axis=1)
