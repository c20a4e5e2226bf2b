"""Y'CbCr and R'G'B' for RGB engines: the stream's own matrix, range and chroma siting.

An engine's picture is not converted back: what is converted back is the change that the engine made. Where it changes
nothing, every sample of Y, Cb and Cr leaves as it came, bit for bit; rounding, clipping of colours outside the RGB
cube and chroma resampling touch the correction only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError
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
        height, width = y.shape
        luma_scale, chroma_scale, black = self._scales()
        luma = (y.astype(np.float32) - np.float32(black)) * np.float32(luma_scale)
        zero = np.float32((self.format.peak + 1) // 2)
        pb = self._up((cb.astype(np.float32) - zero) * np.float32(chroma_scale), height, width)
        pr = self._up((cr.astype(np.float32) - zero) * np.float32(chroma_scale), height, width)
        kr, kb = _KR_KB[self.matrix]
        kg = 1 - kr - kb
        rgb = np.empty((3, height, width), self.format.dtype)
        self._store(rgb[0], luma + np.float32(2 * (1 - kr)) * pr)
        green = luma - np.float32(2 * (1 - kb) * kb / kg) * pb
        green -= np.float32(2 * (1 - kr) * kr / kg) * pr
        self._store(rgb[1], green)
        self._store(rgb[2], luma + np.float32(2 * (1 - kb)) * pb)
        return rgb

    def apply_change(self, planes: tuple[Plane, Plane, Plane], before: Plane, after: Plane) -> None:
        """Add to Y, Cb and Cr, in place, the change from `before` to `after`, both R'G'B' [3, H, W].

        The change of chroma is averaged down to the chroma samples with the transpose of what `to_rgb` interpolates
        with. Results are rounded and clipped to the code values' limits.
        """
        change = after.astype(np.float32)
        change -= before
        kr, kb = _KR_KB[self.matrix]
        luma = np.float32(kr) * change[0]
        luma += np.float32(1 - kr - kb) * change[1]
        luma += np.float32(kb) * change[2]
        luma_scale, chroma_scale, _ = self._scales()
        y, cb, cr = planes
        self._store(y, y + luma / np.float32(luma_scale))
        for plane, channel, weight in ((cb, change[2], kb), (cr, change[0], kr)):
            difference = (channel - luma) * np.float32(1 / (2 * (1 - weight) * chroma_scale))
            self._store(plane, plane + self._down(difference)[: len(plane)])

    def _scales(self) -> tuple[float, float, float]:
        """Factors from luma and chroma codes to R'G'B' codes, and the code of black."""
        peak, unit = self.format.peak, 1 << (self.format.bit_depth - 8)
        if self.full_range:
            return 1.0, 1.0, 0.0
        return peak / (219 * unit), peak / (224 * unit), 16.0 * unit

    def _up(self, chroma: Float, height: int, width: int) -> Float:
        across, down = self.format.chroma_step or (1, 1)
        if down == 2:
            chroma = _double(chroma, cosited=self.siting == "topleft")[:height]
        if across == 2:
            chroma = _double(chroma.T, cosited=self.siting != "center")[:width].T
        # The bottom field of 4:2:0 may have a chroma line less than half its luma lines.
        return np.pad(chroma, ((0, height - len(chroma)), (0, 0)), "edge") if len(chroma) < height else chroma

    def _down(self, change: Float) -> Float:
        across, down = self.format.chroma_step or (1, 1)
        if across == 2:
            change = _halve(change.T, cosited=self.siting != "center").T
        if down == 2:
            change = _halve(change, cosited=self.siting == "topleft")
        return change

    def _store(self, target: Plane, values: NDArray[Any]) -> None:
        np.rint(values, out=values)
        np.clip(values, 0, self.format.peak, out=values)
        target[...] = values


def _double(rows: Float, *, cosited: bool) -> Float:
    """Interpolate linearly along the first axis to twice the rows; edges are replicated."""
    after = np.concatenate([rows[1:], rows[-1:]])
    doubled = np.empty((2 * rows.shape[0], *rows.shape[1:]), np.float32)
    if cosited:  # a sample lies on every even row
        doubled[0::2] = rows
        doubled[1::2] = (rows + after) * np.float32(0.5)
    else:  # a sample lies half-way between an even row and the next
        before = np.concatenate([rows[:1], rows[:-1]])
        doubled[0::2] = rows * np.float32(0.75) + before * np.float32(0.25)
        doubled[1::2] = rows * np.float32(0.75) + after * np.float32(0.25)
    return doubled


def _halve(rows: Float, *, cosited: bool) -> Float:
    """Average along the first axis to half the rows (rounded up); edges are replicated."""
    if rows.shape[0] % 2:
        rows = np.concatenate([rows, rows[-1:]])
    even, odd = rows[0::2], rows[1::2]
    if not cosited:
        return (even + odd) * np.float32(0.5)
    # Edge replication: before the first row lies the first row itself.
    before = np.concatenate([even[:1], odd[:-1]])
    return even * np.float32(0.5) + (odd + before) * np.float32(0.25)
