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
"""Means and detail are of every fifth row, which is what makes them cheap. The step is odd: networks that compute 2x2
or 4x4 samples at once can fail in one row of these, and every fifth row meets them all."""

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
        """Mean absolute difference between before and after, over all samples."""
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
    bands, starts, areas = _geometry(height, width)
    # OpenCV sums bytes into integers and longer samples into floats.
    kind, dtype = (cv2.CV_32S, np.int32) if before.dtype == np.uint8 else (cv2.CV_32F, np.float32)
    sums = np.empty((frames * channels, len(bands), 5, width), dtype)
    largest = 0
    planes = (each.reshape(-1, height, width) for each in (before, after))
    for plane_sums, old, new in zip(sums, *planes, strict=True):
        change = cv2.absdiff(old, new)
        largest = max(largest, int(change.max()))
        few = _few_rows(old, new)
        for total, (rows, few_rows) in zip(plane_sums, bands, strict=True):
            cv2.reduce(change[rows], 0, cv2.REDUCE_SUM, dst=total[:1], dtype=kind)
            cv2.reduce(few[few_rows], 0, cv2.REDUCE_SUM, dst=total[1:].reshape(1, -1), dtype=kind)
    totals = np.add.reduceat(sums, starts, axis=-1).swapaxes(1, 2)
    return TileStatistics((totals / areas).reshape(frames, channels, *areas.shape), largest)


@functools.lru_cache(maxsize=8)
def _geometry(height: int, width: int) -> tuple[list[tuple[slice, slice]], list[int], Figures]:
    """The rows of each tile, of all and of those that are looked at; where columns of tiles start; samples summed."""
    spans, columns = tile_spans(height), tile_spans(width)
    few = [slice(-(-top // _ROW_STEP), -(-bottom // _ROW_STEP)) for top, bottom in spans]
    few[-1] = slice(few[-1].start, _few(height))
    bands = [(slice(*span), rows) for span, rows in zip(spans, few, strict=True)]
    wide = np.array([stop - start for start, stop in columns])
    # The last column has no neighbour to its right.
    pairs = np.maximum(np.append(wide[:-1], wide[-1] - 1), 1)
    high = np.array([bottom - top for top, bottom in spans])[:, None]
    seen = np.array([rows.stop - rows.start for rows in few])[:, None]
    areas = np.stack([high * wide, seen * wide, seen * wide, seen * pairs, seen * pairs]).astype(np.float64)
    return bands, [start for start, _ in columns], areas


def _few(height: int) -> int:
    """How many rows are looked at: the last of a plane has no neighbour below."""
    return -(-max(height - 1, 1) // _ROW_STEP)


def _few_rows(*planes: NDArray[Any]) -> NDArray[Any]:
    """Every fifth row of each plane side by side, then the detail of each: [rows, 2 * planes * W]."""
    import cv2

    height, width = planes[0].shape
    count = _few(height)
    few = np.zeros((count, 2, len(planes), width), planes[0].dtype)
    for number, plane in enumerate(planes):
        rows, below = plane[::_ROW_STEP][:count], plane[1::_ROW_STEP]
        few[:, 0, number] = rows
        if min(height, width) > 1:
            across, down = cv2.absdiff(rows[:, 1:], rows[:, :-1]), cv2.absdiff(below[:, :-1], rows[:, :-1])
            few[:, 1, number, :-1] = cv2.add(across, down)
    return few.reshape(len(few), -1)
