"""Few boxes over the cells that are to be filtered: joined where one, with its margin, costs less than two."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from postfilter.runtime.changes import Cells

__all__ = ["Box", "boxes_over", "runs"]

Box: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
"""(first, stop) of the columns, and of the rows."""

_MOST = 128
"""Boxes to begin with: joining takes time with the square of them. Where there are more, larger cells are looked at."""


def boxes_over(cells: Cells, *, margin: float, each: float) -> list[Box]:
    """Return boxes that cover the cells in little time: what they take is their area, margins included, and `each`.

    Begins with the runs of cells in a row, those alike in successive rows as one, and joins those that gain most by it
    until none do.

    Args:
        cells: bool [rows, columns].
        margin: around a box, in cells.
        each: what a box takes besides, as an area in cells.
    """
    side = 1
    while len(found := runs(_coarser(cells, side))) > _MOST:
        side *= 2
    rows, columns = cells.shape
    boxes = np.minimum(found * side, (columns, rows, columns, rows))
    return [((left, right), (top, bottom)) for left, top, right, bottom in _joined(boxes, margin, each).tolist()]


def runs(cells: Cells) -> NDArray[np.int64]:
    """Return the runs of cells in each row, those alike in successive rows as one: [n, 4], left, top, right and bottom.

    Args:
        cells: bool [rows, columns].
    """
    framed = np.zeros((cells.shape[0], cells.shape[1] + 2), dtype=np.bool_)
    framed[:, 1:-1] = cells
    rows, ends = np.nonzero(framed[:, 1:] != framed[:, :-1])
    order = np.lexsort((rows[::2], ends[1::2], ends[::2]))
    left, right, row = ends[::2][order], ends[1::2][order], rows[::2][order]
    begins = np.ones(len(row), dtype=np.bool_)
    begins[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1]) | (row[1:] != row[:-1] + 1)
    last = np.append(begins[1:], np.ones(min(1, len(row)), dtype=np.bool_))
    return np.stack([left[begins], row[begins], right[begins], row[last] + 1], axis=1)


def _coarser(cells: Cells, side: int) -> Cells:
    """Return whether any is set of each `side` x `side` cells."""
    if side == 1:
        return cells
    rows, columns = (-(-length // side) * side for length in cells.shape)
    padded = np.zeros((rows, columns), dtype=np.bool_)
    padded[: cells.shape[0], : cells.shape[1]] = cells
    return np.asarray(padded.reshape(rows // side, side, columns // side, side).any(axis=(1, 3)))


def _joined(boxes: NDArray[np.int64], margin: float, each: float) -> NDArray[np.int64]:
    """Join boxes, [n, 4]."""
    # Lower and upper corners, [2, n], with the margin: the area of a box that holds two is then soon told.
    low, high = boxes.T[:2].astype(np.float64), boxes.T[2:] + 2.0 * margin
    while (count := low.shape[1]) > 1:
        wide, tall = np.maximum(high[:, :, None], high[:, None]) - np.minimum(low[:, :, None], low[:, None])
        joined = wide * tall
        area = joined.diagonal()
        gain = area[:, None] + (area + each) - joined
        np.fill_diagonal(gain, 0)
        # All pairs at once in which either gains most by the other: one after the other would take as many turns as
        # there are boxes.
        index, best = np.arange(count), gain.argmax(axis=1)
        kept = np.flatnonzero((best[best] == index) & (index < best) & (gain[index, best] > 0))
        if not len(kept):
            break
        other = best[kept]
        low[:, kept] = np.minimum(low[:, kept], low[:, other])
        high[:, kept] = np.maximum(high[:, kept], high[:, other])
        left = np.ones(count, dtype=np.bool_)
        left[other] = False
        low, high = low[:, left], high[:, left]
    return np.concatenate([low, high - 2.0 * margin]).T.round().astype(np.int64)
