"""Over a folder of pictures: how much of what JPEG took a filter gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.quality.metrics import finite_psnr, finite_psnr_b, luma_of, ssim

__all__ = ["PlaneFilter", "check_qualities", "evaluate_images", "image_files", "jpeg_round_trip"]

PlaneFilter: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Samples uint8 [N, C, H, W] to the same shape; an engine is one."""
Row: TypeAlias = dict[str, Any]

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def evaluate_images(
    folder: Path,
    filter: PlaneFilter,  # noqa: A002 (what it is; the builtin is not used here)
    *,
    layout: Literal["luma", "rgb"],
    method: str,
    qualities: Sequence[int],
    on_progress: Callable[..., None] | None = None,
) -> list[Row]:
    """Code every picture of a folder as JPEG, filter it, and compare both with the picture.

    The picture is 8-bit RGB and is coded by OpenCV with its default 4:2:0, for either layout. An `rgb` filter is given
    and judged on the three channels. A `luma` filter is given and judged on the luma plane (BT.601 at full range, as
    the JPEG file holds it); the JPEG rows beside it are then of that plane too, so rows of the two planes must not be
    compared with each other.

    Args:
        folder: PNG, BMP, TIFF, PPM, WebP or JPEG files; those in folders below it are not read.
        filter: uint8 [1, C, H, W] to the same, with C = 1 for `luma` and 3 for `rgb`.
        layout: what the filter takes.
        method: what the filter's rows are called.
        qualities: JPEG qualities, each 1 to 100; one given twice counts once.
        on_progress: called as `on_progress(pictures done, pictures)`.

    Returns:
        For each quality a row of the JPEG and a row of the filter: `dataset` (the folder's name), `quality`, `method`
        (`jpeg` or the given one), `plane` (`rgb` or `luma`), `psnr` and `psnr_b` in dB, `ssim`, `images`. Figures are
        averages of each picture's; a picture without error counts 100 dB.

    Raises:
        InputError: no pictures, one that cannot be read or is smaller than 16x16, or a quality outside 1..100.
    """
    qualities = tuple(dict.fromkeys(qualities))
    check_qualities(qualities)
    files = image_files(folder)
    figures: dict[tuple[int, str], list[tuple[float, float, float]]] = {
        (quality, which): [] for quality in qualities for which in ("jpeg", method)
    }
    for done, file in enumerate(files):
        if on_progress:
            on_progress(done, len(files))
        picture = _read(file)
        source = picture if layout == "rgb" else luma_of(picture)
        for quality in qualities:
            coded = jpeg_round_trip(picture, quality=quality)
            plane = coded if layout == "rgb" else luma_of(coded)
            filtered = _filtered(plane, filter)
            for which, result in (("jpeg", plane), (method, filtered)):
                figures[quality, which].append(
                    (finite_psnr(result, source), ssim(result, source), finite_psnr_b(result, source))
                )
    if on_progress:
        on_progress(len(files), len(files))
    return list(_rows(figures, dataset=folder.resolve().name, plane=layout))


def image_files(folder: Path) -> list[Path]:
    """The pictures in a folder, by name.

    Raises:
        InputError: no such folder, or no pictures in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one that holds pictures")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)
    if not files:
        raise InputError(f"{folder} holds no pictures; looked for {', '.join(sorted(_SUFFIXES))}")
    return files


def check_qualities(qualities: Sequence[int]) -> None:
    """Refuse what is no JPEG quality, before time is spent on anything else.

    Raises:
        InputError: one outside 1..100.
    """
    for quality in qualities:
        if not 1 <= quality <= 100:
            raise InputError(f"got JPEG quality {quality}; it goes from 1 to 100, and 10 to 40 are customary")


def jpeg_round_trip(picture: NDArray[np.uint8], *, quality: int) -> NDArray[np.uint8]:
    """Code a picture as JPEG with OpenCV's default 4:2:0 and decode it again.

    Args:
        picture: R'G'B' uint8 [H, W, 3], or grey [H, W].
        quality: 1 to 100.

    Returns:
        The same shape and type.

    Raises:
        InputError: JPEG cannot hold a picture of this size.
    """
    import cv2

    grey = picture.ndim == 2
    done, data = cv2.imencode(".jpg", picture if grey else picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR) if done else None
    if decoded is None:
        raise InputError(f"OpenCV could not code a picture of {picture.shape = } as JPEG; it takes up to 65535x65535")
    return np.ascontiguousarray(decoded if grey else decoded[..., ::-1], dtype=np.uint8)


def _read(file: Path) -> NDArray[np.uint8]:
    import cv2

    picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if picture is None:
        raise InputError(f"{file} cannot be read as a picture; remove it from the folder or convert it to PNG")
    if min(picture.shape[:2]) < 16:
        raise InputError(f"{file} is {picture.shape[1]}x{picture.shape[0]}; PSNR-B needs at least 16x16")
    return np.ascontiguousarray(picture[..., ::-1], dtype=np.uint8)


def _filtered(picture: NDArray[np.uint8], filter: PlaneFilter) -> NDArray[np.uint8]:  # noqa: A002
    """Run the filter on a picture [H, W] or [H, W, 3]."""
    if picture.ndim == 2:
        return filter(picture[None, None])[0, 0]
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1)[None])
    return np.ascontiguousarray(filter(planes)[0].transpose(1, 2, 0))


def _rows(
    figures: dict[tuple[int, str], list[tuple[float, float, float]]], *, dataset: str, plane: str
) -> Iterator[Row]:
    for (quality, which), values in figures.items():
        mean_psnr, mean_ssim, mean_psnr_b = np.mean(values, axis=0).tolist()
        yield {
            "dataset": dataset,
            "quality": quality,
            "method": which,
            "plane": plane,
            "psnr": mean_psnr,
            "ssim": mean_ssim,
            "psnr_b": mean_psnr_b,
            "images": len(values),
        }
