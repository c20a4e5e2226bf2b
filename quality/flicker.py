"""Flicker: how much a coded clip changes from frame to frame where its source, followed along its motion, does not.

The measure of H. Yang, J. M. Boyce and A. Stein, "Effective flicker removal from periodic intra frames and accurate
flicker measurement", ICIP 2008, as US patent 8,755,613 B2 (the same authors) writes it in its first claim. For sample j
of block i in frame n, of the source f and of what is shown g, with the block's motion vector mv of the source:

    max(0, |g(n, j) - g(n-1, j + mv)| - |f(n, j) - f(n-1, j + mv)|)

and the mean of that over all samples of a frame, in code values; the first frame has none. What the source itself does,
by motion that is not followed, noise or a cut, is subtracted. The patent then leaves out small values by a threshold;
here none is set, so that the figure needs no tuning.

The motion of a block of 16x16 is the median of dense optical flow (DIS: Kroeger et al., "Fast optical flow using dense
inverse search", ECCV 2016, in OpenCV) rounded to whole samples, so that nothing is smoothed by interpolation; it is
found on the source, and is the same for all that is compared with it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Motion", "flicker"]

Luma: TypeAlias = NDArray[np.uint8]
_BLOCK = 16
_LEAST = 32
"""Sides of the least picture in which DIS finds motion; in smaller ones none is followed."""


class Motion:
    """How a source moved from one frame to the next.

    Args:
        before: uint8 [H, W].
        source: the frame after it, the same shape.
    """

    def __init__(self, before: Luma, source: Luma) -> None:
        height, width = source.shape
        across, down = self._of_blocks(before, source)
        rows = np.clip(np.arange(height)[:, None] + _spread(down, height, width), 0, height - 1)
        columns = np.clip(np.arange(width)[None, :] + _spread(across, height, width), 0, width - 1)
        self._where = rows * width + columns
        self._own = self.change(before, source)

    def change(self, before: Luma, after: Luma) -> NDArray[np.uint8]:
        """Return the absolute difference of two frames along the motion, uint8 [H, W]."""
        import cv2

        return np.asarray(cv2.absdiff(after, before.ravel()[self._where]), np.uint8)

    def flicker(self, before: Luma, shown: Luma) -> float:
        """Return the flicker of what is shown between the two frames; see the module."""
        import cv2

        return float(cv2.subtract(self.change(before, shown), self._own).mean())  # stops at 0

    @staticmethod
    def _of_blocks(before: Luma, source: Luma) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Median motion of each block, to where it was, in samples."""
        import cv2

        height, width = source.shape
        grid = (-(-height // _BLOCK), -(-width // _BLOCK))
        if min(height, width) < _LEAST:
            still = np.zeros(grid, np.int64)
            return still, still
        finder: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        flow = finder.calc(np.ascontiguousarray(source), np.ascontiguousarray(before), None)
        margins = ((0, grid[0] * _BLOCK - height), (0, grid[1] * _BLOCK - width), (0, 0))
        blocks = np.pad(flow, margins, mode="edge").reshape(grid[0], _BLOCK, grid[1], _BLOCK, 2)
        medians = np.rint(np.median(blocks, axis=(1, 3))).astype(np.int64)
        return medians[..., 0], medians[..., 1]


def flicker(shown: NDArray[np.uint8], source: NDArray[np.uint8]) -> list[float]:
    """Return the flicker of each frame but the first, in code values.

    Args:
        shown: a coded or filtered clip, luma uint8 [T, H, W].
        source: what it was made of, the same shape.
    """
    steps = range(1, len(source))
    return [Motion(source[n - 1], source[n]).flicker(shown[n - 1], shown[n]) for n in steps]


def _spread(blocks: NDArray[np.int64], height: int, width: int) -> NDArray[np.int64]:
    return blocks.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)[:height, :width]
