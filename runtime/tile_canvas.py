"""Parts of frames side by side in one window, as in an atlas: few compiled shapes filter parts of any shape.

What a sample becomes depends on what lies within the network's reach of it. So each part is laid down with that margin,
and what the parts do to each other's margins is thrown away. Where a part touches the border of the frame the network
pads, so it is laid at the same border of the window.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from postfilter.runtime.changes import BLOCK, CELL
from postfilter.runtime.jobs import Patch
from postfilter.runtime.padding import padded_size
from postfilter.runtime.pieces import Cut

if TYPE_CHECKING:
    from postfilter.runtime.tile_boxes import Box

__all__ = ["Canvas", "canvases_for", "laid_out"]

_REACHES = 4
"""The smallest canvas holds a square so many times as wide as the receptive field's radius, or up to twice that: of a
smaller one the margin is most of the work."""

_SIZES = 3
"""Of canvases, each twice as wide as the one before. Without the third, what scrolling leaves takes a fifth longer."""

_LEAST = 2
"""Cells along the shorter side of what is cut off a box to fill a canvas."""

Span: TypeAlias = tuple[int, int]
Area: TypeAlias = tuple[Span, Span]
"""(first, stop) of columns and of rows in samples."""
Placed: TypeAlias = tuple[int, "Box"]
"""Which plane, and what of it."""


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """A window in which parts of frames of one size are filtered. All pairs are of width and height, in samples."""

    size: tuple[int, int]
    frame: tuple[int, int]
    padded: tuple[int, int]
    """The frame as the network sees it."""
    halo: int
    grid: int
    """Parts start at multiples of it, in the frame and in the canvas."""

    def seen(self, axis: int, span: Span) -> Span:
        """Return (first, stop) of the samples that some columns (axis 0) or rows (1) of cells are filtered from."""
        return self._firsts[axis][span[0]], self._stops[axis][span[1]]

    @cached_property
    def _firsts(self) -> list[list[int]]:
        """Of each axis, for a span that begins with each cell."""
        corners = [range(0, length, CELL) for length in self.frame]
        return [[max(0, each - self.halo) // self.grid * self.grid for each in starts] for starts in corners]

    @cached_property
    def _stops(self) -> list[list[int]]:
        """Of each axis, for a span that ends with the cell before."""
        ends = zip((range(0, length + CELL, CELL) for length in self.frame), self.padded, strict=True)
        return [[min(-(-(each + self.halo) // self.grid) * self.grid, end) for each in stops] for stops, end in ends]

    def patch(self, plane: int, box: Box, corner: tuple[int, int]) -> Patch:
        """Return how a box of cells of a plane is filtered in a place of the canvas."""
        (x, right), (y, bottom) = (self.seen(axis, span) for axis, span in enumerate(box))
        kept = [(first * CELL, min(stop * CELL, end)) for (first, stop), end in zip(box, self.frame, strict=True)]
        cut = Cut(x=x, y=y, left=kept[0][0], top=kept[1][0], right=kept[0][1], bottom=kept[1][1])
        return Patch(index=plane, cut=cut, size=(right - x, bottom - y), at=corner)

    def fitting(self, axis: int, span: Span, room: Span) -> int:
        """Return how many cells of a span, from its first on, fit into a room of the canvas: all, some or 0."""
        first, stop = self.seen(axis, span)
        if first == 0 and room[0] != 0:
            return 0
        if stop - first <= room[1] - room[0] and (stop < self.padded[axis] or room[1] == self.size[axis]):
            return span[1] - span[0]
        # What is cut off ends before the frame does.
        limit = min(first + room[1] - room[0], self.padded[axis] - 1) // self.grid * self.grid
        count = min((limit - self.halo) // CELL, span[1] - _LEAST) - span[0]
        return count if count >= _LEAST else 0

    def holds(self, box: Box) -> bool:
        """Whether a box of cells fits into the canvas while that is empty."""
        rooms = ((0, length) for length in self.size)
        return all(
            self.fitting(axis, span, room) == span[1] - span[0]
            for axis, (span, room) in enumerate(zip(box, rooms, strict=True))
        )


def canvases_for(width: int, height: int, *, halo: int, multiple: int, period: int) -> list[Canvas]:
    """Return the canvases worth trying for frames of a size, the smallest first; none for small frames.

    Args:
        width: of the frames, as `height`.
        height: see `width`.
        halo: receptive-field radius in samples.
        multiple: canvases and padded frames are multiples of it.
        period: see `EngineManifest.period`.
    """
    grid = math.lcm(multiple, period)
    padded = padded_size(width, height, multiple=multiple)
    square = 2 ** max(1, math.ceil(math.log2(max(1, _REACHES * halo / BLOCK)))) * BLOCK
    least = -(-(square + 2 * halo + grid - 1) // grid) * grid
    found = []
    for _ in range(_SIZES):
        # What ends with the frame lies at the end of the canvas, and there too it must start at a multiple of the grid.
        wide, high = (min(side, least + (side - least) % grid) for side in padded)
        if wide * high > padded[0] * padded[1] / 4:
            break
        found.append(Canvas(size=(wide, high), frame=(width, height), padded=padded, halo=halo, grid=grid))
        least *= 2
    return found


def laid_out(
    boxes: Iterable[Placed], canvases: Sequence[Canvas], costs: Sequence[float], *, limit: float = 1.0
) -> tuple[float, list[tuple[int, tuple[Patch, ...]]]] | None:
    """Return the cost of canvases that hold all boxes, and of each which one it is and what lies in it.

    The largest canvas is filled until it would hold all that is left, which is one way to end. The next smaller is then
    filled instead, likewise: several small ones may cost less than one that stays half empty.

    Args:
        boxes: of cells of planes.
        canvases: at least one, the smallest first.
        costs: of each.
        limit: None is returned where the costs come to it; or where a box does not fit, however it is cut.
    """
    left = sorted(boxes, key=_size)
    total, filled = 0.0, list[tuple[int, _Filling]]()
    best, end = (limit, None) if left else (0.0, filled)
    usable = list(range(len(canvases)))
    while usable:
        which = usable[-1]
        if total + costs[which] >= best:
            usable.pop()
            continue
        filling = _Filling(canvases[which], left)
        if filling.left and filling.laid:
            total += costs[which]
            filled.append((which, filling))
            left = sorted(filling.left, key=_size)
            continue
        # From here on this one would only end the same way at a higher cost.
        usable.pop()
        if not filling.left:
            best, end = total + costs[which], [*filled, (which, filling)]
    if end is None:
        return None
    return best, [(n, tuple(canvases[n].patch(*each) for each in filling.laid)) for n, filling in end]


class _Filling:
    """One canvas, filled with boxes, the largest of which come last; `left` is what did not fit."""

    def __init__(self, canvas: Canvas, boxes: list[Placed]) -> None:
        self.laid: list[tuple[int, Box, tuple[int, int]]] = []
        """Planes, what of them, and where."""
        self.held = 0
        """Cells."""
        self.left: list[Placed] = []
        self._canvas = canvas
        self._free: list[Area] = [((0, canvas.size[0]), (0, canvas.size[1]))]
        todo = list(boxes)
        while todo and self._free:
            box = todo.pop()
            rests = self._lay(*box)
            if rests is None:
                self.left.append(box)
            elif rests:
                todo = sorted([*todo, *rests], key=_size)
        self.left += todo

    def _lay(self, plane: int, box: Box) -> list[Placed] | None:
        """Lay a box down, or what fits of it, and return the rests; None where nothing fits."""
        columns, rows = box
        wide, high = columns[1] - columns[0], rows[1] - rows[0]
        best, where, size = (0, 0), None, (0, 0)
        for area in self._free:
            fits = self._canvas.fitting(0, columns, area[0]), self._canvas.fitting(1, rows, area[1])
            # As much as possible, and then where it fits best.
            score = fits[0] * fits[1], -min(area[0][1] - area[0][0], area[1][1] - area[1][0])
            if fits[0] and fits[1] and score > best:
                best, where, size = score, area, fits
        if where is None:
            return None
        self._free.remove(where)
        across, down = columns[0] + size[0], rows[0] + size[1]
        self._put(plane, ((columns[0], across), (rows[0], down)), where)
        rests: list[Placed] = []
        if size[0] < wide:
            rests.append((plane, ((across, columns[1]), rows)))
        if size[1] < high:
            rests.append((plane, ((columns[0], across), (down, rows[1]))))
        return rests

    def _put(self, plane: int, box: Box, area: Area) -> None:
        taken, free = [], []
        for axis, (span, room) in enumerate(zip(box, area, strict=True)):
            first, stop = self._canvas.seen(axis, span)
            length = stop - first
            if stop == self._canvas.padded[axis]:
                taken.append((room[1] - length, room[1]))
                free.append((room[0], room[1] - length))
            else:
                taken.append((room[0], room[0] + length))
                free.append((room[0] + length, room[1]))
        self.laid.append((plane, box, (taken[0][0], taken[1][0])))
        self.held += (box[0][1] - box[0][0]) * (box[1][1] - box[1][0])
        beside, below = free
        # The larger of the two free sides is kept in one.
        if beside[1] - beside[0] < below[1] - below[0]:
            parts = [(area[0], below), (beside, taken[1])]
        else:
            parts = [(beside, area[1]), (taken[0], below)]
        least = 2 * self._canvas.halo + _LEAST * CELL
        self._free += [each for each in parts if all(stop - first >= least for first, stop in each)]


def _size(placed: Placed) -> int:
    (left, right), (top, bottom) = placed[1]
    return (right - left) * (bottom - top)
