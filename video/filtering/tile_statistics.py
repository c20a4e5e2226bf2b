"""What the samples of each tile do, before and after filtering: mean, detail and difference."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class TileStatistics:
    """Of each tile of each plane: float64 [N, C, rows, columns], in code values."""

    change: Figures
    """Mean absolute difference between before and after, over all samples."""
    mean_before: Figures
    mean_after: Figures
    detail_before: Figures
    """Mean sum of the absolute differences to the right and the lower neighbour, of no more than the type's largest
    value; 0 where a plane has one row or column. As `detail_after`."""
    detail_after: Figures
    largest_change: int
    """The largest difference between before and after of any sample."""

    def averaged(self, tiles: NDArray[np.bool_]) -> TileStatistics:
        """Return averages over all channels of the chosen tiles [N, rows, columns]: [N, 1, 1, 1]; 0 where none is."""
        chosen = tiles[:, None]
        count = np.maximum(chosen.sum(axis=(1, 2, 3), keepdims=True) * self.change.shape[1], 1)
        figures = {name: value for name, value in vars(self).items() if name != "largest_change"}
        means = {name: (value * chosen).sum(axis=(1, 2, 3), keepdims=True) / count for name, value in figures.items()}
        return TileStatistics(**means, largest_change=self.largest_change)


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
    bands, columns = tile_spans(height), tile_spans(width)
    # OpenCV sums bytes into integers and longer samples into floats.
    kind, dtype = (cv2.CV_32S, np.int32) if before.dtype == np.uint8 else (cv2.CV_32F, np.float32)
    sums = np.empty((frames * channels, len(bands), 5, width), dtype)
    largest = 0
    planes = (each.reshape(-1, height, width) for each in (before, after))
    for plane_sums, old, new in zip(sums, *planes, strict=True):
        change = cv2.absdiff(old, new)
        largest = max(largest, int(change.max()))
        few = _few_rows(old, new)
        for total, (top, bottom) in zip(plane_sums, bands, strict=True):
            cv2.reduce(change[top:bottom], 0, cv2.REDUCE_SUM, dst=total[:1], dtype=kind)
            rows = few[-(-top // _ROW_STEP) : -(-bottom // _ROW_STEP)]
            cv2.reduce(rows, 0, cv2.REDUCE_SUM, dst=total[1:].reshape(1, -1), dtype=kind)
    totals = np.add.reduceat(sums, [start for start, _ in columns], axis=-1)
    totals = totals.astype(np.float64).reshape(frames, channels, len(bands), 5, -1).swapaxes(2, 3)
    wide = np.array([stop - start for start, stop in columns])
    # The last column has no neighbour to its right.
    pairs = np.maximum(np.append(wide[:-1], wide[-1] - 1), 1)
    high = np.array([bottom - top for top, bottom in bands])[:, None]
    seen = np.diff([-(-top // _ROW_STEP) for top, _ in bands], append=len(few))[:, None]
    return TileStatistics(
        change=totals[:, :, 0] / (high * wide),
        mean_before=totals[:, :, 1] / (seen * wide),
        mean_after=totals[:, :, 2] / (seen * wide),
        detail_before=totals[:, :, 3] / (seen * pairs),
        detail_after=totals[:, :, 4] / (seen * pairs),
        largest_change=largest,
    )


def _few_rows(*planes: NDArray[Any]) -> NDArray[Any]:
    """Every fifth row of each plane side by side, then the detail of each: [rows, 2 * planes * W]."""
    import cv2

    height, width = planes[0].shape
    # The last row has no neighbour below.
    stop = max(height - 1, 1)
    few = np.zeros((-(-stop // _ROW_STEP), 2, len(planes), width), planes[0].dtype)
    for number, plane in enumerate(planes):
        rows, below = plane[:stop:_ROW_STEP], plane[1::_ROW_STEP]
        few[:, 0, number] = rows
        if min(height, width) > 1:
            across, down = cv2.absdiff(rows[:, 1:], rows[:, :-1]), cv2.absdiff(below[:, :-1], rows[:, :-1])
            few[:, 1, number, :-1] = cv2.add(across, down)
    return few.reshape(len(few), -1)
