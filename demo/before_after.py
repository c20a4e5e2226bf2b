"""The picture at the end: where the filter did most, what the decoder showed, what it made of it, and the source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from postfilter.quality import finite_psnr

__all__ = ["Crop", "before_after"]

SIDE = 80
"""Of a crop, in samples."""
ENLARGED = 5
"""Times; nearest neighbour, so that every sample is seen as it is."""
CROPS = 3
BACKGROUND, INK, FAINT, GREEN = (18, 18, 20), (240, 240, 240), (150, 150, 155), (120, 220, 140)
GAP, HEADING, LABEL = 14, 58, 30


@dataclass(frozen=True, kw_only=True)
class Crop:
    """One place of one frame, in the three versions of the clip."""

    frame: int
    x: int
    y: int
    pictures: tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
    """Decoded, filtered, source: R'G'B' uint8 [SIDE, SIDE, 3]."""
    psnr_decoded: float
    psnr_filtered: float


def before_after(decoded: Path, filtered: Path, source: Path, target: Path, *, title: str) -> list[Crop]:
    """Write the picture to `target` and return the crops that it shows.

    Args:
        decoded: the clip that was filtered.
        filtered: what came out.
        source: the clean clip, of as many frames.
        target: a PNG.
        title: the picture's first line.
    """
    crops = _best_crops(decoded, filtered, source)
    _draw(crops, title).save(target)
    return crops


def _best_crops(decoded: Path, filtered: Path, source: Path) -> list[Crop]:
    """The crop of largest gain in each part of the clip."""
    with av.open(str(decoded)) as a, av.open(str(filtered)) as b, av.open(str(source)) as c:
        triples = zip(a.decode(video=0), b.decode(video=0), c.decode(video=0), strict=True)
        # Every fifth frame: neighbours show the same.
        found = [_best_crop(number, triple) for number, triple in enumerate(triples) if number % 5 == 0]
    parts = np.array_split(np.arange(len(found)), CROPS)
    return [max((found[i] for i in part), key=lambda pair: pair[0])[1] for part in parts if len(part)]


def _best_crop(number: int, frames: tuple[av.VideoFrame, av.VideoFrame, av.VideoFrame]) -> tuple[float, Crop]:
    """How much better the best crop of a frame looks, and that crop.

    The measure lies between what squared error gains, which favours the busiest places, where no eye sees it, and the
    gain in dB, which favours places that were good already.
    """
    lumas = [_luma(frame) for frame in frames]
    before, after = (_over_crops((luma - lumas[2]) ** 2) for luma in lumas[:2])
    inside = (before - after) / np.sqrt(before + 1)
    # A crop that is nearly all black or white may gain much and shows little.
    brightness = _over_crops(lumas[2]) / SIDE**2
    inside[(brightness < 60) | (brightness > 200)] = -np.inf
    y, x = (int(i) for i in np.unravel_index(int(np.argmax(inside)), inside.shape))
    area = slice(y, y + SIDE), slice(x, x + SIDE)
    pictures = [frame.to_ndarray(format="rgb24")[area] for frame in frames]
    decibels = [finite_psnr(luma[area], lumas[2][area]) for luma in lumas[:2]]
    crop = Crop(
        frame=number,
        x=x,
        y=y,
        pictures=(pictures[0], pictures[1], pictures[2]),
        psnr_decoded=decibels[0],
        psnr_filtered=decibels[1],
    )
    return float(inside[y, x]), crop


def _over_crops(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum over the crop whose top left corner is at a sample, for every corner that there is."""
    sums = cv2.boxFilter(plane, cv2.CV_64F, (SIDE, SIDE), anchor=(0, 0), normalize=False)
    return np.asarray(sums[: plane.shape[0] - SIDE + 1, : plane.shape[1] - SIDE + 1], np.float64)


def _luma(frame: av.VideoFrame) -> NDArray[np.float64]:
    return frame.to_ndarray()[: frame.height].astype(np.float64)


def _draw(crops: list[Crop], title: str) -> Image.Image:
    side = SIDE * ENLARGED
    sheet = Image.new("RGB", (3 * side + 4 * GAP, HEADING + len(crops) * (LABEL + side + GAP)), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, 16), title, fill=INK, font=ImageFont.load_default(24))
    for row, crop in enumerate(crops):
        top = HEADING + row * (LABEL + side + GAP)
        gain = crop.psnr_filtered - crop.psnr_decoded
        labels = (
            ("decoded", f"{crop.psnr_decoded:.2f} dB", FAINT),
            ("filtered", f"{crop.psnr_filtered:.2f} dB  ({gain:+.2f})", GREEN if gain > 0 else FAINT),
            ("source", f"frame {crop.frame}, at {crop.x}, {crop.y}", FAINT),
        )
        for column, ((name, figure, colour), picture) in enumerate(zip(labels, crop.pictures, strict=True)):
            left = GAP + column * (side + GAP)
            pen.text((left, top), name, fill=INK, font=ImageFont.load_default(20))
            pen.text((left + side, top), figure, fill=colour, font=ImageFont.load_default(20), anchor="ra")
            large = Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(large, (left, top + LABEL))
    return sheet
