"""Moves: found where a picture holds the one before it, elsewhere; and what of it keeps its output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.runtime.changes import CELL, cell_grid
from postfilter.runtime.tile_moves import Move, find_move, not_moved, put_moved

Samples = NDArray[Any]

MOVES = [Move(down=48), Move(down=-144), Move(down=4), Move(down=-16), Move(right=32), Move(right=-100)]


def page(height: int, width: int, *, dtype: type = np.uint8, seed: int = 0) -> Samples:
    """White, with words of letters of 4x4 samples in lines."""
    random = np.random.default_rng(seed)
    letters = (random.random((-(-height // 4), -(-width // 4))) < 0.5).repeat(4, axis=0).repeat(4, axis=1)
    lines = (np.arange(height) % 24 < 12)[:, None] & letters[:height, :width]
    return np.where(lines, random.integers(0, 200, (height, width)), 235).astype(dtype)[None, None]


def moved(before: Samples, move: Move, *, seed: int = 9) -> Samples:
    """The content moved, and another page where nothing was."""
    after = page(*before.shape[2:], dtype=before.dtype.type, seed=seed)
    height, width = before.shape[2:]
    rows = slice(max(0, move.down), height + min(0, move.down))
    columns = slice(max(0, move.right), width + min(0, move.right))
    after = np.broadcast_to(after, before.shape).copy()
    after[..., rows, columns] = before[
        ..., rows.start - move.down : rows.stop - move.down, columns.start - move.right : columns.stop - move.right
    ]
    return after


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("move", MOVES, ids=str)
def test_a_move_is_found(move: Move, dtype: type) -> None:
    before = page(450, 610, dtype=dtype)
    after = moved(before, move)
    after[..., :40, :] = before[..., :40, :]  # the head of the page stays
    assert find_move(before, after, grid=4) == move


def test_nothing_is_found_where_nothing_moved_so() -> None:
    random = np.random.default_rng(0)
    one, other = (random.integers(0, 255, (1, 1, 400, 600), dtype=np.uint8) for _ in range(2))
    before = page(400, 600)
    assert find_move(one, other, grid=1) is None
    assert find_move(before, before, grid=1) is None
    assert find_move(np.zeros_like(before), np.ones_like(before), grid=1) is None
    assert find_move(before, moved(before, Move(down=30)), grid=4) is None
    assert find_move(before[..., :10, :20], before[..., 1:11, :20], grid=1) is None


@pytest.mark.parametrize("move", [*MOVES, Move(down=7, right=-21), Move(down=500)], ids=str)
@pytest.mark.parametrize("halo", [0, 7, 20])
def test_what_moved_is_told_as_if_sample_by_sample(move: Move, halo: int) -> None:
    before = np.concatenate([page(181, 203), page(181, 203, seed=1)])
    after = moved(before, move)
    random = np.random.default_rng(1)
    for _ in range(6):
        after[random.integers(2), 0, random.integers(181), random.integers(203)] ^= 1
    missing = random.random(cell_grid(before.shape)) < 0.05
    told = not_moved(before, after, move, halo=halo, missing=missing)
    height, width = before.shape[2:]
    for (index, row, column), found in np.ndenumerate(told):
        top, left = CELL * row, CELL * column
        rows, columns = (
            np.arange(max(0, start - far) if not by else start - far, min(stop, size) + far)
            for start, stop, size, by, far in (
                (top, top + CELL, height, move.down, halo),
                (left, left + CELL, width, move.right, halo),
            )
        )
        if not move.down:
            rows = rows[rows < height]
        if not move.right:
            columns = columns[columns < width]
        outside = any(
            (places < 0).any() or (places >= size).any()
            for places, size in (
                (rows, height),
                (rows - move.down, height),
                (columns, width),
                (columns - move.right, width),
            )
        )
        if outside:
            assert found
            continue
        here = after[index, 0][np.ix_(rows, columns)]
        there = before[index, 0][np.ix_(rows - move.down, columns - move.right)]
        inner = np.ix_(
            (np.arange(top, min(top + CELL, height)) - move.down) // CELL,
            (np.arange(left, min(left + CELL, width)) - move.right) // CELL,
        )
        if (here != there).any() or missing[index][inner].any():
            assert found
    # Reach is rounded up to cells, so more may be told; but what lies far from all of this is not.
    assert halo or move.down == 500 or told.mean() < 0.9


def test_output_is_put_where_it_moved() -> None:
    before = np.random.default_rng(0).integers(0, 255, (2, 3, 90, 100), dtype=np.uint8)
    output = np.zeros_like(before)
    cells = np.zeros(cell_grid(before.shape), dtype=bool)
    cells[1, 4, 2:6] = cells[1, 11, 12] = True
    put_moved(output, before, cells, Move(down=20, right=-8 + 8))
    expected = np.zeros_like(before)
    expected[1, :, 32:40, 16:48] = before[1, :, 12:20, 16:48]
    expected[1, :, 88:90, 96:100] = before[1, :, 68:70, 96:100]
    assert np.array_equal(output, expected)
