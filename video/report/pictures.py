"""Frames as the report embeds them: WebP in data URIs within a budget, and the part that changed most, enlarged."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from postfilter.video.pages.display import Picture, shown_shape, to_display, upright
from postfilter.video.report.chosen import Kept

__all__ = ["Crop", "Pair", "embed"]

_QUALITIES = (101, 96, 90, 82, 72, 60)
"""Of WebP as OpenCV counts: above 100 is without loss."""
_CROP = (114, 84)
"""Width and height in samples of the part that is enlarged."""
_AMPLIFIED = 8
"""The change is drawn this many times as strong, around grey."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """The part of a frame that changed most: one sample is one pixel, without loss, for the page to enlarge."""

    left: int
    top: int
    width: int
    height: int
    decoded: str
    filtered: str
    change: str
    """The difference, amplified around grey."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A frame before and after, as data URIs."""

    width: int
    """Of the frame, turned as it is shown, in samples; the pictures may be smaller."""
    height: int
    shape: float
    """Width over height of the frame as it is shown."""
    decoded: str
    filtered: str
    how: str
    """`without loss` or the quality, and the scale where it is not 1."""
    crop: Crop


def embed(frames: Sequence[Kept], *, budget_bytes: int = 8 << 20) -> list[Pair]:
    """Return the pictures of some frames; all data URIs together stay within the budget.

    Each frame has the same share. A pair that is too large for its share without loss is compressed, and at last scaled
    down; the crops are always without loss.
    """
    share = budget_bytes // max(1, len(frames))
    return [_embed(each, share) for each in frames]


def _embed(kept: Kept, share: int) -> Pair:
    before, after = to_display(kept.decoded), to_display(kept.filtered)
    crop = _crop(kept, before, after)
    left = share - sum(len(each) for each in (crop.decoded, crop.filtered, crop.change))
    frame_height, frame_width = height, width = before.shape[:2]
    scale = 1
    while True:
        for quality in _QUALITIES:
            uris = [_webp(each, quality) for each in (before, after)]
            if sum(map(len, uris)) <= left:
                how = "without loss" if quality > 100 else f"WebP quality {quality}"
                how += "" if scale == 1 else f", 1/{scale} of the size"
                return Pair(
                    width=frame_width,
                    height=frame_height,
                    shape=shown_shape(kept.decoded),
                    decoded=uris[0],
                    filtered=uris[1],
                    how=how,
                    crop=crop,
                )
        scale, height, width = 2 * scale, max(1, height // 2), max(1, width // 2)
        before, after = (_smaller(each, width, height) for each in (before, after))


def _crop(kept: Kept, before: Picture, after: Picture) -> Crop:
    old, new = (upright(each.planes[0], each) for each in (kept.decoded, kept.filtered))
    left, top, width, height = _where_most_changed(old, new)
    part = np.s_[top : top + height, left : left + width]
    difference = after[part].astype(np.int16) - before[part]
    drawn = np.clip(128 + _AMPLIFIED * difference, 0, 255).astype(np.uint8)
    return Crop(
        left=left,
        top=top,
        width=width,
        height=height,
        decoded=_webp(before[part], 101),
        filtered=_webp(after[part], 101),
        change=_webp(drawn, 101),
    )


def _where_most_changed(old: NDArray[np.generic], new: NDArray[np.generic]) -> tuple[int, int, int, int]:
    """Left, top, width, height of the part with the largest sum of absolute differences."""
    height, width = (min(most, side) for most, side in zip(reversed(_CROP), old.shape, strict=True))
    difference = cv2.absdiff(np.ascontiguousarray(old), np.ascontiguousarray(new))
    sums = cv2.integral(difference)
    totals = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(np.argmax(totals)), totals.shape)
    return int(left), int(top), width, height


def _smaller(picture: Picture, width: int, height: int) -> Picture:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _webp(picture: Picture, quality: int) -> str:
    _, data = cv2.imencode(".webp", picture[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])
    return "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode("ascii")
