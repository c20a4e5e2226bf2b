"""Changed cells, against samples compared one by one."""

from __future__ import annotations

import numpy as np
import pytest

from postfilter.runtime.changes import BLOCK, CELL, block_grid, cell_grid, cells_of, changed_cells, samples_of, widened

SHAPES = [(1, 1, 48, 64), (1, 1, 270, 37), (2, 1, 17, 16), (2, 3, 300, 100), (1, 1, 1, 1)]


def told_slowly(differing: np.ndarray, side: int = CELL) -> np.ndarray:
    frames, _, height, width = differing.shape
    rows, columns = -(-height // side), -(-width // side)
    padded = np.zeros((frames, rows * side, columns * side), dtype=bool)
    padded[:, :height, :width] = differing.any(axis=1)
    return padded.reshape(frames, rows, side, columns, side).any(axis=(2, 4))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_cell_changed_where_a_sample_did(shape: tuple[int, ...], dtype: type, count: int) -> None:
    random = np.random.default_rng(count)
    before = random.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
    for _ in range(20):
        after = before.copy()
        after.reshape(-1)[random.integers(0, before.size, count)] ^= 1 << int(random.integers(8))
        assert np.array_equal(changed_cells(before, after), told_slowly(before != after))


def test_planes_need_not_lie_together() -> None:
    """As those of a decoder do, whose rows are padded."""
    random = np.random.default_rng(0)
    wide = random.integers(0, 255, (1, 1, 64, 128), dtype=np.uint8)
    before, after = wide[..., :100], wide.copy()[..., :100]
    after[0, 0, 40, 99] ^= 128
    assert np.argwhere(changed_cells(before, after)).tolist() == [[0, 5, 12]]


@pytest.mark.parametrize("reach", [0, 1, 8, 14, 16, 17, 40])
def test_widened_cells_hold_every_sample_within_reach(reach: int) -> None:
    shape = (1, 1, 150, 170)
    cells = np.zeros(cell_grid(shape), dtype=bool)
    cells[0, 8, 10] = True
    reached = np.zeros(shape, dtype=bool)
    reached[0, 0, 64 - reach : 72 + reach, 80 - reach : 88 + reach] = True
    assert np.array_equal(widened(cells, reach), told_slowly(reached))


@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_as_cells_and_as_samples(shape: tuple[int, ...]) -> None:
    blocks = np.random.default_rng(1).random(block_grid(shape)) < 0.5
    samples = samples_of(blocks, shape)
    assert np.array_equal(told_slowly(samples, BLOCK), blocks)
    assert np.array_equal(told_slowly(samples), cells_of(blocks, shape))
