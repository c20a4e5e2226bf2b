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
        """Return the window of a tile: shifted to lie within the padded frame, kept as far as it is right."""
        corner = []
        for tile, padded, side in zip((column, row), self.padded, self.window, strict=True):
            first = (tile * self.blocks * BLOCK - self.halo) // self.grid * self.grid
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
    """Return the tiles that cover the wanted blocks in the least time: four small ones or the large one over them.

    None where the whole frame takes less.

    Args:
        wanted: bool [N, rows, columns] of blocks.
        tilings: at least one, each with tiles twice as wide as those before.
        costs: of a window of each, in whole frames' time.
    """
    frames, rows, columns = wanted.shape
    largest = tilings[-1].blocks
    padded = np.zeros((frames, -(-rows // largest) * largest, -(-columns // largest) * largest), dtype=np.bool_)
    padded[:, :rows, :columns] = wanted
    needed: NDArray[Any] = np.any(_joined(padded, tilings[0].blocks), axis=(2, 4))
    cost: NDArray[Any] = needed * costs[0]
    taken = [needed]
    for each in costs[1:]:
        needed = np.any(_joined(needed, 2), axis=(2, 4))
        parts: NDArray[Any] = np.sum(_joined(cost, 2), axis=(2, 4))
        taken.append(needed & (each <= parts))
        cost = np.minimum(parts, needed * each)
    if (total := float(cost.sum())) >= 1:
        return None
    tiles: list[tuple[int, int, Cut]] = []
    above = np.zeros(taken[-1].shape, dtype=np.bool_)
    for index in range(len(tilings) - 1, -1, -1):
        here = taken[index] & ~above
        tiles += [(index, int(n), tilings[index].cut(int(y), int(x))) for n, y, x in np.argwhere(here)]
        above |= here
        above = _spread(above, 2 if index else tilings[0].blocks)
    return Chosen(cost=total, tiles=tuple(tiles), covered=above[:, :rows, :columns])


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


def _blocks_over(cut: Cut) -> Iterator[slice]:
    for start, stop in ((cut.top, cut.bottom), (cut.left, cut.right)):
        yield slice(start // BLOCK, -(-stop // BLOCK))


def _joined(values: NDArray[Any], side: int) -> NDArray[Any]:
    """[N, rows, columns] as [N, rows / side, side, columns / side, side]."""
    frames, rows, columns = values.shape
    return values.reshape(frames, rows // side, side, columns // side, side)


def _spread(values: NDArray[Any], side: int) -> NDArray[Any]:
    return values.repeat(side, axis=1).repeat(side, axis=2)
