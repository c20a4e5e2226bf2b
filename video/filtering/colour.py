"""Y'CbCr and R'G'B' for RGB engines: the stream's own matrix, range and chroma siting.

An engine's picture is not converted back: what is converted back is the change that the engine made. Where it changes
nothing, every sample of Y, Cb and Cr leaves as it came, bit for bit; rounding, clipping of colours outside the RGB
cube and chroma resampling touch the correction only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.video.filtering.chroma import doubled_across, doubled_down, halved_across, halved_down
from postfilter.video.pixels import PixelFormat, Plane

__all__ = ["Colour", "Siting", "choose_matrix", "choose_siting"]

Siting = Literal["left", "center", "topleft"]
Float = NDArray[np.float32]

_KR_KB = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.470BG, that is BT.601 with 625 lines
    6: (0.299, 0.114),  # SMPTE 170M, that is BT.601 with 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, non-constant luminance
}
"""Matrix coefficients of ITU-T H.273 -> the luma weights of red and blue."""

_UNSPECIFIED = 2
_BAND_LINES = 64
"""Even, so that a band begins with a chroma line."""


def choose_matrix(matrix: int, *, width: int, height: int) -> int:
    """Return the matrix coefficients (ITU-T H.273) to convert with.

    An unspecified matrix is taken as players take it: BT.709 for high definition (over 576 lines or at least 1280
    samples wide), BT.601 below.

    Raises:
        InputError: a matrix that is no plain Y'CbCr (RGB, YCgCo, constant luminance).
    """
    if matrix == _UNSPECIFIED:
        return 1 if height > 576 or width >= 1280 else 6
    if matrix not in _KR_KB:
        raise InputError(
            f"the video's matrix coefficients are {matrix} (ITU-T H.273), which an RGB engine cannot convert with; "
            "allowed: BT.601, BT.709, BT.2020 NCL, SMPTE 240M, FCC; use a luma engine, such as fastarcnn-luma"
        )
    return matrix


def choose_siting(name: str) -> Siting:
    """Return the siting to convert with: unspecified (and the rarer ones of interlaced fields) is taken as `left`."""
    if name == "center":
        return "center"
    return "topleft" if name == "topleft" else "left"


@dataclass(frozen=True, kw_only=True)
class Colour:
    """How the planes of one stream become R'G'B' and a change of it becomes a change of the planes."""

    format: PixelFormat
    matrix: int
    """Matrix coefficients of ITU-T H.273, one that `choose_matrix` returned."""
    full_range: bool
    """Whether luma spans 0..peak; else 16..235 (times 4 at 10 bits), chroma 16..240."""
    siting: Siting = "left"
    """Where a subsampled chroma sample lies: `left` (MPEG-2, H.264, HEVC), `center` (JPEG), `topleft` (BT.2020)."""

    def to_rgb(self, y: Plane, cb: Plane, cr: Plane) -> Plane:
        """Return R'G'B' at full range, [3, H, W], of the planes' type; colours outside the cube are clipped.

        Chroma is interpolated linearly to every luma sample, from where its siting puts it.
        """
        rgb = np.empty((3, *y.shape), self.format.dtype)
        for top, bottom in _bands(len(y)):
            self._band_to_rgb((y, cb, cr), top, bottom, rgb[:, top:bottom])
        return rgb

    def apply_change(self, planes: tuple[Plane, Plane, Plane], before: Plane, after: Plane) -> None:
        """Add to Y, Cb and Cr, in place, the change from `before` to `after`, both R'G'B' [3, H, W].

        The change of chroma is averaged down to the chroma samples with the transpose of what `to_rgb` interpolates
        with. Results are rounded and clipped to the code values' limits.
        """
        for top, bottom in _bands(len(planes[0])):
            self._apply_band(planes, top, bottom, before, after)

    def _band_to_rgb(self, planes: tuple[Plane, Plane, Plane], top: int, bottom: int, target: Plane) -> None:
        import cv2

        y = planes[0][top:bottom]
        down = (self.format.chroma_step or (1, 1))[1]
        # A chroma line more on either side, to interpolate with.
        first = max(0, top // down - 1)
        luma_scale, chroma_scale, black = self._scales()
        zero = (self.format.peak + 1) // 2
        luma = _scaled(y, luma_scale, -black * luma_scale)
        lines = slice(first, -(-bottom // down) + 1)
        pb, pr = (
            self._up(_scaled(each[lines], chroma_scale, -zero * chroma_scale), top - down * first, y)
            for each in planes[1:]
        )
        kr, kb = _KR_KB[self.matrix]
        kg = 1 - kr - kb
        self._add(luma, pr, 2 * (1 - kr), target[0])
        self._add(luma, pb, 2 * (1 - kb), target[2])
        cv2.addWeighted(pr, -2 * (1 - kr) * kr / kg, pb, -2 * (1 - kb) * kb / kg, 0, dst=pr)
        self._add(luma, pr, 1, target[1])

    def _apply_band(
        self, planes: tuple[Plane, Plane, Plane], top: int, bottom: int, before: Plane, after: Plane
    ) -> None:
        import cv2

        # Two lines more above, which the first chroma line may be an average of as well.
        first = max(0, top - 2)
        rows = slice(first, bottom)
        red, green, blue = (
            cv2.subtract(new[rows], old[rows], dtype=cv2.CV_32F) for old, new in zip(before, after, strict=True)
        )
        kr, kb = _KR_KB[self.matrix]
        luma = cv2.addWeighted(red, kr, green, 1 - kr - kb, 0)
        cv2.scaleAdd(blue, kb, luma, dst=luma)
        luma_scale, chroma_scale, _ = self._scales()
        y, *chroma = planes
        down = (self.format.chroma_step or (1, 1))[1]
        for plane, channel, weight in zip(chroma, (blue, red), (kb, kr), strict=True):
            factor = 1 / (2 * (1 - weight) * chroma_scale)
            cv2.addWeighted(channel, factor, luma, -factor, 0, dst=channel)
            lines = plane[top // down : -(-bottom // down)]
            self._add(lines, self._down(channel)[(top - first) // down :][: len(lines)], 1, lines)
        self._add(y[top:bottom], luma[top - first :], 1 / luma_scale, y[top:bottom])

    def _scales(self) -> tuple[float, float, float]:
        """Factors from luma and chroma codes to R'G'B' codes, and the code of black."""
        peak, unit = self.format.peak, 1 << (self.format.bit_depth - 8)
        if self.full_range:
            return 1.0, 1.0, 0.0
        return peak / (219 * unit), peak / (224 * unit), 16.0 * unit

    def _up(self, chroma: Float, skipped: int, y: Plane) -> Float:
        """Interpolate a band of chroma lines to the lines of `y`, after the first few."""
        across, down = self.format.chroma_step or (1, 1)
        height, width = y.shape
        if across == 2:
            chroma = doubled_across(chroma, cosited=self.siting != "center")[:, :width]
        if down == 2:
            chroma = doubled_down(chroma, cosited=self.siting == "topleft")
        chroma = chroma[skipped : skipped + height]
        # The bottom field of 4:2:0 may have a chroma line less than half its luma lines.
        return np.pad(chroma, ((0, height - len(chroma)), (0, 0)), "edge") if len(chroma) < height else chroma

    def _down(self, change: Float) -> Float:
        across, down = self.format.chroma_step or (1, 1)
        if down == 2:
            change = halved_down(change, cosited=self.siting == "topleft")
        if across == 2:
            change = halved_across(change, cosited=self.siting != "center")
        return change

    def _add(self, base: NDArray[Any], change: Float, factor: float, target: Plane) -> None:
        """Write base + factor · change, rounded and clipped to the code values' limits."""
        import cv2

        if factor != 1:
            change = _scaled(change, factor, 0)
        # OpenCV rounds halves to even, as NumPy does, and clips to the type; above 8 bits the peak is lower than that.
        cv2.add(base, change, dst=target, dtype=cv2.CV_8U if target.dtype == np.uint8 else cv2.CV_16U)
        if self.format.peak < np.iinfo(target.dtype).max:
            np.minimum(target, self.format.peak, out=target)


def _bands(height: int) -> Iterator[tuple[int, int]]:
    """Yield (first line, last line exclusive) of what is converted at a time, so that it stays in the cache."""
    for top in range(0, height, _BAND_LINES):
        yield top, min(height, top + _BAND_LINES)


def _scaled(plane: NDArray[Any], factor: float, offset: float) -> Float:
    import cv2

    scaled: Any = cv2.addWeighted(plane, factor, plane, 0, offset, dtype=cv2.CV_32F)
    return scaled
