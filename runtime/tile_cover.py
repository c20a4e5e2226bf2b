"""Which windows of a frame to filter so that certain cells are filtered: the cheapest, or those of a frame in pieces.

Geometry and arithmetic alone: what a window costs, and whether it gives the samples of the whole frame, is told by
`runtime.tile_trial`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from postfilter.runtime.changes import CELL
from postfilter.runtime.jobs import Patch
from postfilter.runtime.tile_boxes import boxes_over
from postfilter.runtime.tile_canvas import laid_out

if TYPE_CHECKING:
    from postfilter.runtime.changes import Cells
    from postfilter.runtime.pieces import Cut
    from postfilter.runtime.tile_boxes import Box
    from postfilter.runtime.tile_canvas import Canvas

__all__ = ["Chosen", "cheapest_windows", "cuts_over"]

_EACH = (64 / CELL) ** 2
"""A box takes so many cells' time besides its own: what it costs to lay it out, and the gaps that are left."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What to filter."""

    cost: float
    """In whole frames' time."""
    windows: tuple[tuple[int, tuple[Patch, ...]], ...]
    """Which canvas (or 0), and what lies in it."""
    covered: Cells
    """What is filtered then."""


def cheapest_windows(wanted: Cells, canvases: Sequence[Canvas], costs: Sequence[float]) -> Chosen | None:
    """Return windows that cover the wanted cells in little time; None where the whole frame takes less.

    Args:
        wanted: bool [N, rows, columns] of cells.
        canvases: at least one, the smallest first.
        costs: of each, in whole frames' time.
    """
    least = min(cost / (each.size[0] * each.size[1]) for each, cost in zip(canvases, costs, strict=True))
    if np.count_nonzero(wanted) * CELL**2 * least >= 1:
        return None
    around = _box_around(wanted)
    if around is not None and canvases[0].holds(around[1]):
        # As in most frames of a screen. Nothing costs less, so nothing else is looked at.
        boxes, canvases, costs = [around], canvases[:1], costs[:1]
    else:
        margin = canvases[0].halo / CELL
        boxes = [(n, box) for n, plane in enumerate(wanted) for box in boxes_over(plane, margin=margin, each=_EACH)]
    found = laid_out(boxes, canvases, costs)
    if found is None:
        return None
    covered = np.zeros_like(wanted)
    for n, (columns, rows) in boxes:
        covered[n, slice(*rows), slice(*columns)] = True
    return Chosen(cost=found[0], windows=tuple(found[1]), covered=covered)


def cuts_over(wanted: Cells, cuts: Sequence[Cut], piece: tuple[int, int]) -> Chosen | None:
    """Return those of the frame's pieces that cover the wanted cells; None where that is all of them.

    Args:
        wanted: bool [N, rows, columns] of cells.
        cuts: of one plane, from `pieces.cut_frame`.
        piece: (width, height) of each.
    """
    covered = np.zeros_like(wanted)
    windows = []
    for index, plane in enumerate(wanted):
        for cut in cuts:
            place = tuple(_cells_over(cut))
            if plane[place].any():
                covered[index][place] = True
                windows.append((0, (Patch(index=index, cut=cut, size=piece),)))
    if len(windows) == len(cuts) * len(wanted):
        return None
    # A cell across the border of two pieces is right where it was wanted, of both then; elsewhere half of it may be.
    return Chosen(cost=len(windows) / (len(cuts) * len(wanted)), windows=tuple(windows), covered=covered & wanted)


def _box_around(wanted: Cells) -> tuple[int, Box] | None:
    """Return which plane all wanted cells lie in, and the box around them; None where there is no such plane."""
    planes = np.flatnonzero(wanted.any(axis=(1, 2)))
    if len(planes) != 1:
        return None
    columns, rows = (np.flatnonzero(wanted[planes[0]].any(axis=axis)).tolist() for axis in (0, 1))
    return int(planes[0]), ((columns[0], columns[-1] + 1), (rows[0], rows[-1] + 1))


def _cells_over(cut: Cut) -> Iterator[slice]:
    for start, stop in ((cut.top, cut.bottom), (cut.left, cut.right)):
        yield slice(start // CELL, -(-stop // CELL))
