"""What the samples of each tile do, before and after filtering: mean, detail and difference."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from postfilter.runtime.changes import CELL
from postfilter.video.pixels import Plane

if TYPE_CHECKING:
    from postfilter.runtime.changes import Cells

__all__ = ["TileStatistics", "tile_spans", "tile_statistics"]

_TILE = 64
_ROW_STEP = 5
"""All but the largest change is of every fifth row, which is what makes it cheap. The step is odd: networks that
compute 2x2 or 4x4 samples at once can fail in one row of these, and every fifth row meets them all."""
_BAND_BYTES = 512 * 1024
"""So much is worked on at a time: it stays in the cache, and is memory that the process has already."""
_MUCH = 1 / 3
"""Where more of the tiles are measured anew, all of them are: that takes no longer."""

Figures = NDArray[np.float64]


class TileStatistics:
    """Of each tile of each plane: float64 [N, C, rows, columns], in code values.

    Args:
        figures: [N, C, 5, rows, columns], what the properties return.
        largest_change: no sample differs by more between before and after. The largest difference, unless tiles were
            carried over, in which others may have lain that differed by as much.
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

    def carried_over(self) -> tuple[Figures, int]:
        """Return copies of what these were made of."""
        return self._figures.copy(), self.largest_change

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


def tile_statistics(
    before: Plane, after: Plane, *, last: TileStatistics | None = None, altered: Cells | None = None
) -> TileStatistics:
    """Measure every tile; what that costs grows with the area alone.

    Args:
        before: uint8 or uint16 [N, C, H, W], as `after`.
        after: the same shape.
        last: what was measured of other planes of the same shape and type. Its tiles are carried over where nothing
            was altered.
        altered: bool, which cells of each plane are not what they were then, before or after; None is all.
    """
    frames, channels, height, width = before.shape
    tops, lefts, areas = _geometry(height, width)
    rows, columns = areas.shape[1:]
    whole = [((0, rows), (0, columns))] * frames
    anew = whole if last is None or altered is None else [_touched(cells, (rows, columns)) for cells in altered]
    if last is None or sum(math.prod(stop - first for first, stop in spans) for spans in anew) > _MUCH * rows * columns:
        anew, figures, largest = whole, np.empty((frames, channels, *areas.shape)), 0
    else:
        figures, largest = last.carried_over()
    for n, ((top, bottom), (left, right)) in enumerate(anew):
        if top == bottom:
            continue
        lines = tops[top], tops[bottom] if bottom < rows else _few(height)
        across = lefts[left] * _TILE, lefts[right] * _TILE if right < columns else width
        down = slice(top * _TILE, bottom * _TILE if bottom < rows else height)
        tile_tops = [each - lines[0] for each in tops[top:bottom]]
        tile_lefts = [each - left for each in lefts[left:right]]
        for channel in range(channels):
            old, new = before[n, channel], after[n, channel]
            totals = np.add.reduceat(_row_sums(old, new, lines, across), tile_tops, axis=1)
            if len(tile_lefts) < totals.shape[2]:
                totals = np.add.reduceat(totals, tile_lefts, axis=2)
            figures[n, channel, :, top:bottom, left:right] = totals / areas[:, top:bottom, left:right]
            largest = max(largest, _largest_change(old[down, slice(*across)], new[down, slice(*across)]))
    return TileStatistics(figures, largest)


def _touched(cells: NDArray[np.bool_], tiles: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (first, stop) of rows and of columns of tiles in which all lie that depend on one of some cells.

    Those are the tiles that the cells lie in, and those whose lower or right neighbour they are.
    """
    spans = []
    for axis, count in enumerate(tiles):
        found = np.flatnonzero(cells.any(axis=1 - axis)) * CELL
        if not len(found):
            return (0, 0), (0, 0)
        first, last = max(int(found[0]) - 1, 0) // _TILE, int(found[-1]) // _TILE
        spans.append((min(first, count - 1), min(last, count - 1) + 1))
    return spans[0], spans[1]


def _largest_change(old: NDArray[Any], new: NDArray[Any]) -> int:
    import cv2

    return int(cv2.norm(old, new, cv2.NORM_INF))


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


def _row_sums(old: NDArray[Any], new: NDArray[Any], lines: tuple[int, int], columns: tuple[int, int]) -> NDArray[Any]:
    """Sums of each 64 columns of every fifth row: [change, before, after, detail before and after; lines, W / 64].

    Args:
        old: [H, W].
        new: the same.
        lines: (first, stop) of every fifth row.
        columns: (first, stop).
    """
    import cv2

    height, width = old.shape
    left, right = columns
    wide, pairs = right - left, min(right, width - 1) - left if height > 1 else 0
    # OpenCV sums bytes into integers and longer samples into floats, which hold as many as a tile has exactly.
    kind = cv2.CV_32S if old.dtype == np.uint8 else cv2.CV_32F
    most = min(lines[1] - lines[0], max(1, _BAND_BYTES // (5 * wide * old.itemsize)))
    blocks = -(-wide // _TILE)
    seen = np.zeros((5, most, blocks * _TILE), old.dtype)
    below = np.empty((most, max(pairs, 0)), old.dtype)
    sums = []
    for first in range(lines[0], lines[1], most):
        count = min(most, lines[1] - first)
        band = seen[:, :count]
        change, before, after = band[:3, :, :wide]
        for plane, rows, detail in zip((old, new), (before, after), band[3:, :, :pairs], strict=True):
            every_fifth = plane[_ROW_STEP * first :: _ROW_STEP][:count]
            rows[...] = every_fifth[:, left:right]
            if pairs:
                here, under = rows[:, :pairs], plane[_ROW_STEP * first + 1 :: _ROW_STEP][:count]
                cv2.absdiff(every_fifth[:, left + 1 : left + 1 + pairs], here, dst=detail)
                cv2.add(detail, cv2.absdiff(under[:, left : left + pairs], here, dst=below[:count]), dst=detail)
        cv2.absdiff(before, after, dst=change)
        total = cv2.reduce(np.ascontiguousarray(band).reshape(-1, _TILE), 1, cv2.REDUCE_SUM, dtype=kind)
        sums.append(np.asarray(total).reshape(5, count, blocks))
    return sums[0] if len(sums) == 1 else np.concatenate(sums, axis=1)
