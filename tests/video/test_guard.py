"""The look at each filtered frame."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.video.filtering.guard import looks_wrong


@pytest.fixture
def plane(photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(photograph[:256, :256, 1])[None, None]


def test_filtering_is_fine(plane: NDArray[np.uint8]) -> None:
    smoothed = ((plane.astype(int) + np.roll(plane, 1, axis=3) + np.roll(plane, 1, axis=2)) // 3).astype(np.uint8)
    assert not looks_wrong(plane, smoothed, peak=255)
    assert not looks_wrong(plane, plane, peak=255)


def test_black_flat_and_shifted_frames_are_seen(plane: NDArray[np.uint8]) -> None:
    assert looks_wrong(plane, np.zeros_like(plane), peak=255)
    assert looks_wrong(plane, np.full_like(plane, int(plane.mean())), peak=255)
    assert looks_wrong(plane, np.clip(plane.astype(int) + 40, 0, 255).astype(np.uint8), peak=255)
    assert looks_wrong(plane.astype(np.uint16) * 4, np.zeros(plane.shape, np.uint16), peak=1023)


def test_frames_that_were_flat_may_stay_so() -> None:
    black = np.full((1, 1, 64, 64), 16, np.uint8)
    assert not looks_wrong(black, black, peak=255)
