"""Over a folder of pictures: how much of what JPEG took a filter gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.quality.metrics import finite_psnr, finite_psnr_b, luma_of, ssim

__all__ = [
    "SUFFIXES",
    "ImagePair",
    "PlaneFilter",
    "check_qualities",
    "evaluate_images",
    "evaluate_pairs",
    "image_files",
    "jpeg_round_trip",
    "read_picture",
]

PlaneFilter: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Samples uint8 [N, C, H, W] to the same shape; an engine is one."""
Row: TypeAlias = dict[str, Any]
Compared: TypeAlias = tuple[int, NDArray[np.uint8], NDArray[np.uint8]]
"""Level, degraded picture and its source, R'G'B' uint8 [H, W, 3]."""

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def evaluate_images(
    pictures: Path | Sequence[Path],
    filter: PlaneFilter,  # noqa: A002 (what it is; the builtin is not used here)
    *,
    layout: Literal["luma", "rgb"],
    method: str,
    qualities: Sequence[int],
    dataset: str | None = None,
    on_progress: Callable[..., None] | None = None,
) -> list[Row]:
    """Code pictures as JPEG, filter them, and compare both with the pictures.

    The picture is 8-bit RGB and is coded by OpenCV with its default 4:2:0, for either layout. An `rgb` filter is given
    and judged on the three channels. A `luma` filter is given and judged on the luma plane (BT.601 at full range, as
    the JPEG file holds it); the JPEG rows beside it are then of that plane too, so rows of the two planes must not be
    compared with each other.

    Args:
        pictures: PNG, BMP, TIFF, PPM, WebP or JPEG files, or a folder of them; folders below it are not read.
        filter: uint8 [1, C, H, W] to the same, with C = 1 for `luma` and 3 for `rgb`.
        layout: what the filter takes.
        method: what the filter's rows are called.
        qualities: JPEG qualities, each 1 to 100; one given twice counts once.
        dataset: what the pictures are called; where None the folder's name.
        on_progress: called as `on_progress(pictures done, pictures)`.

    Returns:
        For each quality a row of the JPEG and a row of the filter: `dataset`, `quality`, `method` (`jpeg` or the given
        one), `plane` (`rgb` or `luma`), `psnr` and `psnr_b` in dB, `ssim`, `images`. Figures are averages of each
        picture's; a picture without error counts 100 dB.

    Raises:
        InputError: no pictures, one that cannot be read or is smaller than 16x16, or a quality outside 1..100.
    """
    qualities = tuple(dict.fromkeys(qualities))
    check_qualities(qualities)
    files = image_files(pictures) if isinstance(pictures, Path) else list(pictures)
    folder = pictures if isinstance(pictures, Path) else files[0].parent

    def coded(file: Path) -> Iterator[Compared]:
        picture = read_picture(file)
        for quality in qualities:
            yield quality, jpeg_round_trip(picture, quality=quality), picture

    table = _Table(filter, layout=layout, method=method)
    table.take((coded(file) for file in files), count=len(files), on_progress=on_progress)
    return table.rows(dataset or folder.resolve().name)


def evaluate_pairs(
    pairs: Sequence[ImagePair],
    filter: PlaneFilter,  # noqa: A002
    *,
    layout: Literal["luma", "rgb"],
    method: str,
    dataset: str,
    on_progress: Callable[..., None] | None = None,
) -> list[Row]:
    """Filter pictures that come degraded, and compare both with their sources; else as `evaluate_images`.

    Args:
        pairs: pictures and their sources, for instance of `datasets`.
        filter: see `evaluate_images`, as all that follow.
        layout: as above.
        method: as above.
        dataset: as above.
        on_progress: as above.

    Returns:
        Rows as `evaluate_images`, by level: `quality` is the `level` of the pairs.

    Raises:
        InputError: one cannot be read, or differs from its source in size.
    """

    def read(pair: ImagePair) -> Iterator[Compared]:
        degraded, source = read_picture(pair.degraded), read_picture(pair.source)
        if degraded.shape != source.shape:
            raise InputError(f"{pair.degraded} is of another size than {pair.source}; give the set as it was published")
        yield pair.level, degraded, source

    table = _Table(filter, layout=layout, method=method)
    table.take((read(pair) for pair in pairs), count=len(pairs), on_progress=on_progress)
    return table.rows(dataset)


@dataclass(frozen=True, kw_only=True)
class ImagePair:
    """A picture that came degraded, and what it was made of."""

    source: Path
    degraded: Path
    level: int
    """How: the JPEG quality, or the set's own number."""


def image_files(folder: Path) -> list[Path]:
    """The pictures in a folder, by name.

    Raises:
        InputError: no such folder, or no pictures in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one that holds pictures")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{folder} holds no pictures; looked for {', '.join(sorted(SUFFIXES))}")
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


def read_picture(file: Path) -> NDArray[np.uint8]:
    """Return a picture as R'G'B' uint8 [H, W, 3].

    Raises:
        InputError: it cannot be read, or is smaller than 16x16.
    """
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


class _Table:
    """Collects what is measured of pictures by level."""

    def __init__(
        self,
        filter: PlaneFilter,  # noqa: A002
        *,
        layout: Literal["luma", "rgb"],
        method: str,
    ) -> None:
        self._filter, self._layout, self._method = filter, layout, method
        self._figures: dict[tuple[int, str], list[tuple[float, float, float]]] = {}

    def take(self, items: Iterable[Iterator[Compared]], *, count: int, on_progress: Callable[..., None] | None) -> None:
        for done, item in enumerate(items):
            if on_progress:
                on_progress(done, count)
            for level, degraded, picture in item:
                self._measure(level, degraded, picture)
        if on_progress:
            on_progress(count, count)

    def _measure(self, level: int, degraded: NDArray[np.uint8], picture: NDArray[np.uint8]) -> None:
        plane, source = (each if self._layout == "rgb" else luma_of(each) for each in (degraded, picture))
        for which, result in (("jpeg", plane), (self._method, _filtered(plane, self._filter))):
            self._figures.setdefault((level, which), []).append(
                (finite_psnr(result, source), ssim(result, source), finite_psnr_b(result, source))
            )

    def rows(self, dataset: str) -> list[Row]:
        return [
            {
                "dataset": dataset,
                "quality": level,
                "method": which,
                "plane": self._layout,
                **dict(zip(("psnr", "ssim", "psnr_b"), np.mean(values, axis=0).tolist(), strict=True)),
                "images": len(values),
            }
            for (level, which), values in self._figures.items()
        ]
