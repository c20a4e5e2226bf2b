"""Clean pictures from files, and what a network is shown of them: their planes, at a size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from postfilter.errors import InputError
from postfilter.models import Layout
from postfilter.training.pool import Samples

__all__ = ["read_images", "scaled", "to_layout"]


def read_images(paths: Sequence[Path], *, minimum: int) -> Iterator[Samples]:
    """Yield each picture as uint8 R'G'B' [H, W, 3], cropped to even sides; those under `minimum` samples are left out.

    Raises:
        InputError: a file cannot be read.
    """
    for path in paths:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise InputError(f"{path} is not a readable image; remove it from the folder")
        height, width = (side & ~1 for side in picture.shape[:2])
        if min(height, width) >= minimum:
            yield np.ascontiguousarray(picture[:height, :width, ::-1], np.uint8)


def to_layout(picture: Samples, layout: Layout) -> Samples:
    """Return a picture as a network takes it.

    Args:
        picture: R'G'B' uint8 [H, W, 3].
        layout: `rgb`: all three; `luma` takes full-range BT.601 luma, as in JPEG.

    Returns:
        uint8 [3, H, W] or [1, H, W], contiguous.
    """
    if layout == "rgb":
        return np.ascontiguousarray(picture.transpose(2, 0, 1))
    return np.ascontiguousarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)[:, :, 0], np.uint8)[None]


def scaled(picture: Samples, scale: float) -> Samples:
    """Return a copy of a picture at `scale` times its size, by area averaging, with even sides.

    Args:
        picture: uint8 [H, W] or [H, W, 3].
        scale: above 0, at most 1.
    """
    height, width = (int(side * scale) & ~1 for side in picture.shape[:2])
    if scale == 1:
        return np.ascontiguousarray(picture[:height, :width]).copy()
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
