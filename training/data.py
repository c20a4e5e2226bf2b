"""From folders of images and clips to pools of degraded and clean pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from postfilter.errors import InputError
from postfilter.models import Layout
from postfilter.quality.images import jpeg_round_trip
from postfilter.runtime.further_inputs import BLOCK
from postfilter.training.degradation import scaled, to_layout
from postfilter.training.pool import PatchPool, Samples

__all__ = ["jpeg_pool", "qp_of_jpeg", "read_images"]


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


def jpeg_pool(
    pictures: Sequence[Samples],
    *,
    layout: Layout,
    qualities: Sequence[int],
    scales: Sequence[float] = (1.0,),
    on_progress: Callable[..., None] | None = None,
) -> PatchPool:
    """Compress every picture at every quality.

    Args:
        pictures: uint8 R'G'B' [H, W, 3], sides even.
        layout: of the samples in the pool.
        qualities: OpenCV's JPEG qualities.
        scales: sizes at which to use each picture; below 1 the source's own artefacts shrink and detail grows denser.
        on_progress: called as `on_progress(done, total)`.
    """
    degraded: list[Samples] = []
    clean: list[Samples] = []
    levels: list[Samples] = []
    for done, picture in enumerate(pictures):
        for scale in scales:
            resized = scaled(picture, scale)
            target = to_layout(resized, layout)
            for quality in qualities:
                degraded.append(to_layout(jpeg_round_trip(resized, quality=quality), layout))
                clean.append(target)
                blocks = tuple(-(-side // BLOCK) for side in target.shape[1:])
                levels.append(np.full(blocks, qp_of_jpeg(quality), np.uint8))
        if on_progress is not None:
            on_progress(done + 1, len(pictures))
    return PatchPool(degraded, clean, levels)


def qp_of_jpeg(quality: int) -> int:
    """Return the QP, as H.264 and HEVC count it, whose step is that of the DC coefficient of luma at a JPEG quality.

    libjpeg scales the 16 of ITU-T T.81's example table (K.1) by 50 / quality below 50 and by 2 - quality / 50 above.
    """
    step = max(16 * (50 / quality if quality < 50 else 2 - quality / 50), 1)
    return min(round(4 + 6 * math.log2(step)), 51)
