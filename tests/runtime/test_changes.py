"""Changed blocks, against samples compared one by one."""

from __future__ import annotations

import numpy as np
import pytest

from postfilter.runtime.changes import BLOCK, block_grid, changed_blocks, samples_of, widened

SHAPES = [(1, 1, 48, 64), (1, 1, 270, 37), (2, 1, 17, 16), (2, 3, 300, 100), (1, 1, 1, 1)]


def told_slowly(differing: np.ndarray) -> np.ndarray:
    frames, _, height, width = differing.shape
    rows, columns = block_grid(differing.shape)[1:]
    padded = np.zeros((frames, rows * BLOCK, columns * BLOCK), dtype=bool)
    padded[:, :height, :width] = differing.any(axis=1)
    return padded.reshape(frames, rows, BLOCK, columns, BLOCK).any(axis=(2, 4))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_block_changed_where_a_sample_did(shape: tuple[int, ...], dtype: type, count: int) -> None:
    random = np.random.default_rng(count)
    before = random.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
    for _ in range(20):
        after = before.copy()
        after.reshape(-1)[random.integers(0, before.size, count)] ^= 1 << int(random.integers(8))
        assert np.array_equal(changed_blocks(before, after), told_slowly(before != after))


def test_planes_need_not_lie_together() -> None:
    """As those of a decoder do, whose rows are padded."""
    random = np.random.default_rng(0)
    wide = random.integers(0, 255, (1, 1, 64, 128), dtype=np.uint8)
    before, after = wide[..., :100], wide.copy()[..., :100]
    after[0, 0, 40, 99] ^= 128
    assert np.argwhere(changed_blocks(before, after)).tolist() == [[0, 2, 6]]


@pytest.mark.parametrize("reach", [0, 1, 14, 16, 17, 40])
def test_widened_blocks_hold_every_sample_within_reach(reach: int) -> None:
    shape = (1, 1, 150, 170)
    blocks = np.zeros(block_grid(shape), dtype=bool)
    blocks[0, 4, 5] = True
    reached = np.zeros(shape, dtype=bool)
    reached[0, 0, 64 - reach : 80 + reach, 80 - reach : 96 + reach] = True
    assert np.array_equal(widened(blocks, reach), told_slowly(reached))
    assert np.array_equal(told_slowly(samples_of(blocks, shape)), blocks)
