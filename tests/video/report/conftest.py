"""Frames and records made by hand: a photograph that the filter smooths more or less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.video import ColourTags, Frame, FrameRecord

Seen = tuple[FrameRecord, Frame, Frame]


def make_frame(
    luma: NDArray[Any], *, index: int = 0, form: str = "yuv420p", chroma: int | None = None, **tags: Any
) -> Frame:
    """A frame of one luma plane, with grey chroma or another code."""
    height, width = luma.shape
    grey = 1 << (9 if "10" in form else 7)
    planes = [np.full((height // 2, width // 2), chroma or grey, luma.dtype) for _ in range(2)]
    colour = ColourTags(**tags)
    return Frame.from_planes([luma, *planes], format=form, pts=index, time_base=Fraction(1, 25), colour=colour)


@pytest.fixture(scope="session")
def frame() -> Callable[..., Frame]:
    """`frame(luma, …)`: `make_frame`."""
    return make_frame


@pytest.fixture(scope="session")
def clip(photograph: NDArray[np.uint8]) -> Callable[..., Iterator[Seen]]:
    """`clip(changes, …)`: a frame for each number, by which it is changed in a square in its middle."""

    def frames(changes: list[float], *, quality: bool = False, **figures: Any) -> Iterator[Seen]:
        for index, change in enumerate(changes):
            luma = np.ascontiguousarray(photograph[100:300, 50 + index % 64 : 370 + index % 64, 1])
            after = luma.copy()
            after[80:120, 140:180] = np.clip(after[80:120, 140:180] + change, 0, 255).astype(np.uint8)
            record = FrameRecord(
                index=index, pts_seconds=index / 25, filter_ms=8.0 + index % 3, change=float(change), **figures
            )
            if quality:
                record.psnr_decoded, record.psnr_filtered = 32.0, 32.0 + change / 10
            yield record, make_frame(luma, index=index), make_frame(after, index=index)

    return frames
