"""Flicker along the motion of the source."""

import numpy as np
import pytest
from skimage import data

from postfilter.quality import flicker, luma_of


def pan(frames: int, step: int) -> np.ndarray:
    luma = luma_of(data.astronaut())
    return np.stack([luma[100:196, 120 + step * n : 248 + step * n] for n in range(frames)])


@pytest.mark.parametrize("step", [0, 2])
def test_the_source_and_a_steady_error_do_not_flicker(step):
    source = pan(4, step)
    assert flicker(source, source) == [0, 0, 0]
    steady = np.clip(source.astype(int) + 7, 0, 255).astype(np.uint8)
    assert max(flicker(steady, source)) < 0.1


@pytest.mark.parametrize("step", [0, 2])
def test_an_error_that_comes_and_goes_flickers_by_its_size(step):
    source = pan(5, step) // 2 + 20
    pulsing = source.copy()
    pulsing[1::2] += 6
    # Where the source changes too, along its motion, part of the error is hidden by it or is its opposite.
    values = flicker(pulsing, source)
    assert len(values) == 4
    assert np.allclose(values, 6) if step == 0 else all(3 < value < 6 for value in values)


def test_motion_is_followed():
    source = pan(3, 3)
    still = np.stack([source[0]] * 3)
    grain = np.random.default_rng(1).integers(0, 9, source.shape[1:]).astype(np.uint8)
    carried = np.stack([np.roll(grain, -3 * n, axis=1) for n in range(3)])
    moving_with_it = np.clip(source.astype(int) + carried, 0, 255).astype(np.uint8)
    staying = np.clip(source.astype(int) + grain, 0, 255).astype(np.uint8)
    assert max(flicker(moving_with_it, source)) < 0.5 * min(flicker(staying, source))
    assert flicker(still, still) == [0, 0]


def test_small_pictures_and_odd_sizes_are_taken():
    tiny = np.random.default_rng(2).integers(0, 255, (2, 20, 18)).astype(np.uint8)
    assert flicker(tiny, tiny) == [0]
    odd = pan(2, 1)[:, :61, :83]
    assert flicker(odd, odd) == [0]
