"""Which windows of a frame to filter so that certain blocks are filtered: the cheapest, or those of a frame in pieces.

Geometry and arithmetic alone: what a window costs, and whether it gives the samples of the whole frame, is told by
`runtime.tile_trial`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.runtime.changes import BLOCK
from postfilter.runtime.padding import padded_size
from postfilter.runtime.pieces import Cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from postfilter.runtime.changes import Blocks

__all__ = ["Chosen", "Tiling", "cheapest_tiles", "cuts_over", "tilings_for"]

_REACHES = 4
"""The smallest tile is so many times as wide as the receptive field's radius, or up to twice that: of a smaller one the
margin is most of the work."""

_SIZES = 2
"""Sizes of tiles, each twice as wide as the one before. A third gains 2 % and takes as long to compile as any."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """A frame in square tiles, each filtered with the margin that the network sees."""

    blocks: int
    """Side of a tile in blocks."""
    width: int
    """Of the frame in samples, as `height`."""
    height: int
    window: tuple[int, int]
    """(width, height) of what is filtered for a tile; the same for all, so that one compiled graph does."""
    halo: int
    grid: int
    """Windows start at multiples of it."""
    padded: tuple[int, int]
    """(width, height) of the frame as the network sees it."""

    def cut(self, row: int, column: int) -> Cut:
        """Return the window of the tile that starts at a block: shifted to lie within the padded frame."""
        corner = []
        for block, padded, side in zip((column, row), self.padded, self.window, strict=True):
            first = (block * BLOCK - self.halo) // self.grid * self.grid
            corner.append(min(max(0, first), padded - side))
        return self.window_at(*corner)

    def window_at(self, x: int, y: int) -> Cut:
        """Return the window that starts there, kept as far as it is right.

        Args:
            x: a multiple of `grid`, at most the padded frame's width less the window's; `y` likewise.
            y: see `x`.
        """
        left, right = self._kept(x, self.width, self.padded[0], self.window[0])
        top, bottom = self._kept(y, self.height, self.padded[1], self.window[1])
        return Cut(x=x, y=y, left=left, top=top, right=right, bottom=bottom)

    def _kept(self, start: int, frame: int, padded: int, side: int) -> tuple[int, int]:
        # A window that touches the frame's border pads there as the whole frame does; elsewhere its padding reaches in.
        return start + self.halo if start else 0, frame if start + side == padded else start + side - self.halo


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What to filter."""

    cost: float
    """In whole frames' time."""
    tiles: tuple[tuple[int, int, Cut], ...]
    """Which tiling (or 0), which of the N planes, and the window."""
    covered: Blocks
    """What is filtered then."""


def tilings_for(width: int, height: int, *, halo: int, multiple: int, period: int) -> list[Tiling]:
    """Return the tilings worth trying for frames of a size, the smallest tiles first; none for small frames.

    Args:
        width: of the frames, as `height`.
        height: see `width`.
        halo: receptive-field radius in samples.
        multiple: windows and padded frames are multiples of it.
        period: see `EngineManifest.period`.
    """
    grid = math.lcm(multiple, period)
    padded = padded_size(width, height, multiple=multiple)
    blocks = 2 ** max(1, math.ceil(math.log2(max(1, _REACHES * halo / BLOCK))))
    found = []
    for _ in range(_SIZES):
        least = blocks * BLOCK + 2 * halo + grid - 1
        # A window that is shifted back to end with the frame must start at a multiple of the grid too.
        wide, high = (min(side, least + (side - least) % grid) for side in padded)
        if wide * high > padded[0] * padded[1] / 4:
            break
        found.append(
            Tiling(blocks=blocks, width=width, height=height, window=(wide, high), halo=halo, grid=grid, padded=padded)
        )
        blocks *= 2
    return found


def cheapest_tiles(wanted: Blocks, tilings: Sequence[Tiling], costs: Sequence[float]) -> Chosen | None:
    """Return tiles that cover the wanted blocks in little time; None where the whole frame takes less.

    From the top downwards, each tile is laid so that it starts with the topmost row that is left and covers its first
    block and as many others as it can: a large one where that costs less than the small ones that would do.

    Args:
        wanted: bool [N, rows, columns] of blocks.
        tilings: at least one, each with tiles twice as wide as those before.
        costs: of a window of each, in whole frames' time.
    """
    frames, rows, columns = wanted.shape
    if np.count_nonzero(wanted) * min(cost / each.blocks**2 for each, cost in zip(tilings, costs, strict=True)) >= 1:
        return None
    edge = tilings[-1].blocks
    left = np.zeros((frames, rows + edge, columns + 2 * edge), dtype=np.bool_)  # tiles may reach past the frame
    left[:, :rows, edge : edge + columns] = wanted
    covered = np.zeros_like(left)
    tiles: list[tuple[int, int, Cut]] = []
    total = 0.0
    for index, plane in enumerate(left):
        while True:
            row, column = divmod(int(plane.argmax()), plane.shape[1])
            if not plane[row, column]:
                break
            which, start = _next_tile(plane, row, column, tilings, costs, edge)
            if (total := total + costs[which]) >= 1:
                return None
            side = tilings[which].blocks
            plane[row : row + side, start : start + side] = False
            covered[index, row : row + side, start : start + side] = True
            tiles.append((which, index, tilings[which].cut(row, start - edge)))
    return Chosen(cost=total, tiles=tuple(tiles), covered=covered[:, :rows, edge : edge + columns])


def cuts_over(wanted: Blocks, cuts: Sequence[Cut]) -> Chosen | None:
    """Return those of the frame's pieces that cover the wanted blocks; None where that is all of them.

    Args:
        wanted: bool [N, rows, columns] of blocks.
        cuts: of one plane, from `pieces.cut_frame`.
    """
    covered = np.zeros_like(wanted)
    tiles = []
    for index, plane in enumerate(wanted):
        for cut in cuts:
            place = tuple(_blocks_over(cut))
            if plane[place].any():
                covered[index][place] = True
                tiles.append((0, index, cut))
    if len(tiles) == len(cuts) * len(wanted):
        return None
    # A block across the border of two pieces is right where it was wanted, of both then; elsewhere half of it may be.
    return Chosen(cost=len(tiles) / (len(cuts) * len(wanted)), tiles=tuple(tiles), covered=covered & wanted)


def _next_tile(
    left: Blocks, row: int, column: int, tilings: Sequence[Tiling], costs: Sequence[float], edge: int
) -> tuple[int, int]:
    """Return (tiling, first column) of the tile to be laid over what is left at a block, of which no row is above."""
    small = tilings[0].blocks
    for which in range(len(tilings) - 1, -1, -1):
        side = tilings[which].blocks
        first = max(edge, column - side + 1)
        within: NDArray[Any] = np.zeros(column + side - first + 1, dtype=np.int64)
        np.cumsum(np.count_nonzero(left[row : row + side, first : column + side], axis=0), out=within[1:])
        covers = within[side:] - within[:-side]
        start = column - int(covers[::-1].argmax())
        parts = _joined(left[None, row : row + side, start : start + side], small).any(axis=(2, 4))
        if not which or np.count_nonzero(parts) * costs[0] >= costs[which]:
            break
    return which, start


def _blocks_over(cut: Cut) -> Iterator[slice]:
    for start, stop in ((cut.top, cut.bottom), (cut.left, cut.right)):
        yield slice(start // BLOCK, -(-stop // BLOCK))


def _joined(values: NDArray[Any], side: int) -> NDArray[Any]:
    """[N, rows, columns] as [N, rows / side, side, columns / side, side]."""
    frames, rows, columns = values.shape
    return values.reshape(frames, rows // side, side, columns // side, side)
