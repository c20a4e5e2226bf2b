"""Where a picture is the one before it, moved: a page that scrolls, a window that is dragged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.runtime.changes import CELL, cell_grid, changed_cells, widened
from postfilter.runtime.tile_boxes import runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from postfilter.runtime.backend import Samples
    from postfilter.runtime.changes import Cells

__all__ = ["Move", "find_move", "not_moved", "put_moved"]

_STRIPS = 16
"""So many strips of a picture are looked at, across its whole width: each piece of a window that moves is in some."""

_STRIP_BYTES = 32
"""Width of a strip. As much of a row as a few letters of text: less is found in too many rows."""

_EACH = 4
"""Every so-many-th row of the later picture is looked for in the earlier."""

_VOTES = 16
"""So many rows of strips must have moved by the same before all samples are compared."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """By how many samples the content of a picture moved."""

    down: int = 0
    """Negative: up."""
    right: int = 0
    """Negative: left."""


_SLOT_BITS = 16
_SHIFT = np.uint64(64 - _SLOT_BITS)


_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that no bit is lost, and without a pattern: 2 ** 64 over the golden ratio (Knuth, TAOCP 6.4)."""


def find_move(before: Samples, after: Samples, *, grid: int) -> Move | None:
    """Return the move of most of what moved by multiples of `grid`, downwards or sideways; None where nothing did.

    A guess from the first channel: what really moved so is told by `not_moved`.

    Args:
        before: [N, C, H, W], unsigned integers.
        after: of the same shape and type.
        grid: above 0.
    """
    for name, axis in (("down", 2), ("right", 3)):
        votes: NDArray[Any] = np.zeros(2 * after.shape[axis], dtype=np.int64)
        for one, other in zip(before[:, 0], after[:, 0], strict=True):
            votes += _votes(one, other) if axis == 2 else _votes(one.T, other.T)
        size = len(votes) // 2
        votes[np.arange(-size, size) % grid != 0] = 0
        votes[size] = 0
        if votes.max() >= _VOTES:
            return Move(**{name: int(votes.argmax()) - size})
    return None


def not_moved(before: Samples, after: Samples, move: Move, *, halo: int, missing: Cells) -> Cells:
    """Return the cells of `after` whose output is not that of `before`, moved.

    That is where a sample in the cell or in the network's reach of it is not the one that was moved there, where the
    reach goes past the border of the picture in one of the places, since the network pads there, and where the output
    that would be moved is not what `before` gives.

    Args:
        before: [N, C, H, W], unsigned integers.
        after: of the same shape and type.
        move: of the content, from `before` to `after`.
        halo: receptive-field radius in samples.
        missing: the cells of `before` whose output is not known.
    """
    found: Cells = np.ones(cell_grid(after.shape), dtype=np.bool_)
    place: list[slice] = []
    source: list[slice] = []
    cells: list[slice] = []
    for size, by in ((after.shape[2], move.down), (after.shape[3], move.right)):
        # What is compared are whole cells of `after`, or such as end with it.
        first = -(-max(0, by) // CELL) * CELL
        stop = size if by >= 0 else (size + by) // CELL * CELL
        if first >= stop:
            return found
        place.append(slice(first, stop))
        source.append(slice(first - by, stop - by))
        cells.append(slice(first // CELL, -(-stop // CELL)))
    every = slice(None)
    compared = changed_cells(before[(every, every, *source)], after[(every, every, *place)])
    found[(every, *cells)] = compared
    found = widened(found, halo)
    for axis, size, by in ((1, after.shape[2], move.down), (2, after.shape[3], move.right)):
        starts = np.arange(found.shape[axis]) * CELL
        last = found.shape[axis] - 1
        ends = [((starts + far - by) // CELL).clip(0, last) for far in (0, CELL - 1)]
        missing = np.take(missing, ends[0], axis) | np.take(missing, ends[1], axis)
        if by:
            stops = np.minimum(starts + CELL, size)
            outside = (starts - halo < max(0, by)) | (stops + halo > size + min(0, by))
            np.moveaxis(found, axis, -1)[..., outside] = True
    return found | missing


def put_moved(output: Samples, before: Samples, cells: Cells, move: Move) -> None:
    """Write into cells of an output what was there before the move.

    Args:
        output: [N, C, H, W]; written to.
        before: of the same shape, the output before.
        cells: none for which that lay outside.
        move: of the content.
    """
    height, width = output.shape[2:]
    for index, plane in enumerate(cells):
        for left, top, right, bottom in (runs(plane) * CELL).tolist():
            right, bottom = min(right, width), min(bottom, height)
            output[index, :, top:bottom, left:right] = before[
                index, :, top - move.down : bottom - move.down, left - move.right : right - move.right
            ]


def _votes(before: NDArray[Any], after: NDArray[Any]) -> NDArray[Any]:
    """Return how many rows of strips moved by each of -H ... H - 1: those that are the only one of their kind."""
    height = len(after)
    if after.shape[1] * after.itemsize < _STRIP_BYTES:
        return np.zeros(2 * height, dtype=np.int64)
    old, new = _keys(before), _keys(after)
    sought = np.argwhere((old != new)[:, ::_EACH])
    keys = new[:, ::_EACH][tuple(sought.T)]
    # What shares its slot of the table is taken for not the only one of its kind.
    slots = (old.ravel() >> _SHIFT).astype(np.int64)
    table = np.zeros(2**_SLOT_BITS, dtype=np.int64)
    table[slots] = np.arange(old.size)
    alone = np.bincount(slots, minlength=len(table)) == 1
    asked = (keys >> _SHIFT).astype(np.int64)
    found = table[asked]
    same = alone[asked] & (old.ravel()[found] == keys)
    return np.bincount(sought[same, 1] * _EACH - found[same] % height + height, minlength=2 * height)


def _keys(plane: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a number for each row of each strip of [H, W], [strips, H]; alike where the samples are alike."""
    wide = _STRIP_BYTES // plane.itemsize
    starts = np.unique(np.linspace(0, plane.shape[1] - wide, _STRIPS).astype(int))
    strips: NDArray[np.uint64] = np.ascontiguousarray(
        np.stack([plane[:, start : start + wide] for start in starts])
    ).view(np.uint64)
    keys = np.arange(1, len(starts) + 1, dtype=np.uint64)[:, None] * _FACTOR  # strips are told apart
    for word in np.moveaxis(strips, 2, 0):
        keys = (keys ^ word) * _FACTOR
        keys ^= keys >> np.uint64(32)
    return keys * _FACTOR
