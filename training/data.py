"""From folders of images and clips to pools of degraded and clean pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from postfilter.errors import InputError
from postfilter.models import Layout
from postfilter.training.degradation import jpeg, to_layout
from postfilter.training.pool import PatchPool, Samples

__all__ = ["IMAGE_SUFFIXES", "find_images", "jpeg_pool", "read_images"]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def find_images(folder: Path) -> list[Path]:
    """The image files below `folder`, in order of name.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"no folder at {folder}; give one with image files")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise InputError(f"no images in {folder}; looked for {', '.join(sorted(IMAGE_SUFFIXES))}")
    return found


def read_images(paths: Sequence[Path], *, minimum: int) -> Iterator[Samples]:
    """Yield each picture as uint8 BGR [H, W, 3], cropped to even sides; pictures under `minimum` samples are left out.

    Raises:
        InputError: a file cannot be read.
    """
    for path in paths:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise InputError(f"{path} is not a readable image; remove it from the folder")
        height, width = (side & ~1 for side in picture.shape[:2])
        if min(height, width) >= minimum:
            yield np.asarray(picture[:height, :width], np.uint8)


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
        pictures: uint8 BGR [H, W, 3], sides even.
        layout: of the samples in the pool.
        qualities: OpenCV's JPEG qualities.
        scales: sizes at which to use each picture; below 1 the source's own artefacts shrink and detail grows denser.
        on_progress: called as `on_progress(done, total)`.
    """
    degraded: list[Samples] = []
    clean: list[Samples] = []
    for done, picture in enumerate(pictures):
        for scale in scales:
            resized = _scaled(picture, scale)
            target = to_layout(resized, layout)
            for quality in qualities:
                degraded.append(to_layout(jpeg(resized, quality), layout))
                clean.append(target)
        if on_progress is not None:
            on_progress(done + 1, len(pictures))
    return PatchPool(degraded, clean)


def _scaled(picture: Samples, scale: float) -> Samples:
    if scale == 1:
        return picture
    height, width = (int(side * scale) & ~1 for side in picture.shape[:2])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
