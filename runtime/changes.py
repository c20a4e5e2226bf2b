"""Which cells of a picture differ from those of the picture before it. Samples are compared, never judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from postfilter.runtime.backend import Samples

__all__ = ["BLOCK", "CELL", "block_grid", "cell_grid", "cells_of", "changed_cells", "samples_of", "widened"]

BLOCK = 16
"""Side of a block in samples: a macroblock, what most codecs skip as one, and what a QP is told for."""

CELL = 8
"""Side of a cell in samples. What is coded anew changes a few samples around it too, where the codec smooths its edges:
with cells of 16, much more would seem changed."""

_PER_BLOCK = BLOCK // CELL

_BAND = 16 * CELL
"""Rows that are compared at a time: what is left of them stays in the processor's cache until it is summed up."""

if TYPE_CHECKING:
    Blocks = NDArray[np.bool_]
    """[N, ceil(H / BLOCK), ceil(W / BLOCK)]"""
    Cells = NDArray[np.bool_]
    """[N, ceil(H / CELL), ceil(W / CELL)]"""


def block_grid(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the shape of the blocks of planes of shape [N, C, H, W]."""
    return shape[0], -(-shape[2] // BLOCK), -(-shape[3] // BLOCK)


def cell_grid(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the shape of the cells of planes of shape [N, C, H, W]."""
    return shape[0], -(-shape[2] // CELL), -(-shape[3] // CELL)


def cells_of(blocks: Blocks, shape: tuple[int, ...]) -> Cells:
    """Return the value of each block for each of its cells, in planes of `shape`."""
    _, rows, columns = cell_grid(shape)
    return blocks.repeat(_PER_BLOCK, axis=2).repeat(_PER_BLOCK, axis=1)[:, :rows, :columns]


def changed_cells(before: Samples, after: Samples) -> Cells:
    """Return where two arrays of planes differ in any sample of any channel.

    Args:
        before: [N, C, H, W], unsigned integers.
        after: of the same shape and type.
    """
    frames, channels, height, width = after.shape
    _, rows, columns = cell_grid(after.shape)
    found = np.zeros((frames, rows, columns), dtype=np.bool_)
    # Padded to whole cells, so that a cell's row of samples is one or two 64-bit words.
    differing = np.zeros((_BAND, columns * CELL), dtype=after.dtype)
    words = columns, CELL * after.itemsize // 8
    for index in range(frames):
        for channel in range(channels):
            for top in range(0, height, _BAND):
                high = min(_BAND, height - top)
                one, other = (each[index, channel, top : top + high] for each in (before, after))
                np.bitwise_xor(one, other, out=differing[:high, :width])
                if not differing[:high].max():  # twice as fast as any() on bytes
                    continue
                differing[high:] = 0
                first = top // CELL
                whole = differing[: -(-high // CELL) * CELL].reshape(-1, CELL, columns * CELL)
                summed = np.bitwise_or.reduce(whole, axis=1).view(np.uint64).reshape(-1, *words)
                found[index, first : first + len(summed)] |= summed.any(axis=2)
    return found


def widened(cells: Cells, reach: int) -> Cells:
    """Return the cells in which a sample lies that is at most `reach` samples away from one of `cells`."""
    wide = cells.copy()
    if cells.all() or not cells.any():
        return wide
    for _ in range(-(-reach // CELL)):
        for axis in (1, 2):
            inner = np.moveaxis(wide, axis, 0)
            grown = inner.copy()
            grown[1:] |= inner[:-1]
            grown[:-1] |= inner[1:]
            inner[...] = grown
    return wide


def samples_of(blocks: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the value of each block for each of its samples: [N, 1, H, W] for planes of `shape`."""
    spread = blocks.repeat(BLOCK, axis=2).repeat(BLOCK, axis=1)
    return spread[:, None, : shape[2], : shape[3]]
