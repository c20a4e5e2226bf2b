"""A frame as a screen shows it: 8-bit R'G'B' through the stream's own matrix, range and transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.video.filtering.colour import Colour, choose_matrix, choose_siting

if TYPE_CHECKING:
    from postfilter.video.frame import Frame
    from postfilter.video.pixels import Plane

__all__ = ["Picture", "describe_conversion", "shown_shape", "to_display", "upright"]

Picture = NDArray[np.uint8]
"""R'G'B' at full range, [H, W, 3], contiguous."""

_PQ, _HLG = 16, 18
"""Transfer characteristics of ITU-T H.273: SMPTE ST 2084, and ARIB STD-B67 (BT.2100 HLG)."""
_WHITE_NITS = 203.0
"""Diffuse white of HDR pictures, ITU-R BT.2408."""
_PEAK_NITS = 1000.0
"""What is mapped to the screen's white: the peak of most masters, and HLG's nominal one (BT.2100)."""

_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
"""Linear light, ITU-R BT.2087."""


def to_display(frame: Frame, *, longest: int | None = None) -> Picture:
    """Return the frame's samples as a picture, turned as it is to be shown, not stretched; alpha is left out.

    HDR (PQ and HLG) is mapped to standard range. A frame without chroma, or with a matrix that is no plain Y'CbCr,
    is shown as its luma.

    Args:
        frame: of any format that can be filtered.
        longest: the largest width or height wanted; a larger frame is scaled down. None keeps every sample.
    """
    planes = _shrunk(frame.planes, longest)
    if frame.format.rgb:
        green, blue, red = planes[:3]
        rgb: Plane = np.stack([red, green, blue])
    elif frame.format.chroma_step is None or not _has_matrix(frame):
        rgb = np.broadcast_to(_full_range(planes[0], frame), (3, *planes[0].shape))
    else:
        rgb = _colour(frame).to_rgb(*planes[:3])
    if frame.format.chroma_step is not None and frame.colour.transfer in (_PQ, _HLG):
        return upright(_tone_mapped(rgb.astype(np.float32) / frame.format.peak, frame.colour.transfer), frame)
    eight = rgb if rgb.dtype == np.uint8 else np.rint(rgb * np.float32(255 / frame.format.peak)).astype(np.uint8)
    return upright(eight.transpose(1, 2, 0), frame)


def upright(samples: NDArray[Any], frame: Frame) -> NDArray[Any]:
    """Return samples [H, W, …] of a frame turned as it is to be shown, contiguous."""
    return np.ascontiguousarray(np.rot90(samples, frame.rotation // 90))


def shown_shape(frame: Frame) -> float:
    """Return width over height of the frame as it is to be shown, turned and stretched."""
    shape = frame.width / frame.height * float(frame.sample_aspect_ratio or 1)
    return 1 / shape if frame.rotation % 180 else shape


def describe_conversion(frame: Frame) -> str:
    """Return in one sentence what `to_display` does to such frames."""
    spread = "full" if frame.colour.full_range else "limited"
    depth = f"{frame.format.bit_depth}-bit {frame.format.name}"
    if frame.format.rgb:
        return f"Shown as the R'G'B' that the clip holds, {depth}."
    if frame.format.chroma_step is None or not _has_matrix(frame):
        return f"Shown as luma alone, from {depth}, {spread} range."
    names = {1: "BT.709", 4: "FCC", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020"}
    matrix = names[_colour(frame).matrix]
    text = f"Converted from {depth} with the stream's matrix ({matrix}) and range ({spread}) to 8-bit R'G'B'."
    if frame.colour.transfer in (_PQ, _HLG):
        transfer = "PQ" if frame.colour.transfer == _PQ else "HLG"
        text += f" The stream is HDR ({transfer}); a plain tone map brings it to this page's standard range."
    return text


def _has_matrix(frame: Frame) -> bool:
    try:
        choose_matrix(frame.colour.matrix, width=frame.width, height=frame.height)
    except InputError:
        return False
    return True


def _colour(frame: Frame) -> Colour:
    return Colour(
        format=frame.format,
        matrix=choose_matrix(frame.colour.matrix, width=frame.width, height=frame.height),
        full_range=frame.colour.full_range,
        siting=choose_siting(frame.colour.siting),
    )


def _full_range(luma: Plane, frame: Frame) -> Plane:
    if frame.colour.full_range:
        return luma
    unit = 1 << (frame.format.bit_depth - 8)
    spread = (luma.astype(np.float32) - 16 * unit) * np.float32(frame.format.peak / (219 * unit))
    return np.clip(np.rint(spread), 0, frame.format.peak).astype(luma.dtype)


def _shrunk(planes: tuple[Plane, ...], longest: int | None) -> tuple[Plane, ...]:
    """Scale all planes by the same factor, to even sizes of luma so that chroma's stay exact parts of it."""
    height, width = planes[0].shape
    if longest is None or max(height, width) <= longest:
        return planes
    import cv2

    scale = longest / max(height, width)
    luma = [max(4, round(side * scale / 4) * 4) for side in (height, width)]
    sizes = [
        [
            max(1, round(target * part / side))
            for target, part, side in zip(luma, each.shape, (height, width), strict=True)
        ]
        for each in planes
    ]
    return tuple(
        cv2.resize(np.ascontiguousarray(each), (size[1], size[0]), interpolation=cv2.INTER_AREA)
        for each, size in zip(planes, sizes, strict=True)
    )


def _tone_mapped(signal: NDArray[Any], transfer: int) -> Picture:
    """Bring HDR R'G'B' [3, H, W] of 0..1 to sRGB: a curve that keeps mid-tones and rolls off to the peak."""
    nits = _pq_nits(signal) if transfer == _PQ else _hlg_nits(signal)
    linear = np.tensordot(_BT2020_TO_BT709, nits / np.float32(_WHITE_NITS), axes=1).clip(0)
    # Reinhard's extended operator, on the largest channel so that hues stay.
    brightest = linear.max(axis=0, keepdims=True)
    white = np.float32((_PEAK_NITS / _WHITE_NITS) ** 2)
    linear *= (1 + brightest / white) / (1 + brightest)
    np.clip(linear, 0, 1, out=linear)
    # IEC 61966-2-1.
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.ascontiguousarray(np.rint(255 * encoded).astype(np.uint8).transpose(1, 2, 0))


def _pq_nits(signal: NDArray[Any]) -> NDArray[Any]:
    """SMPTE ST 2084."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = signal ** np.float32(1 / m2)
    return 10000 * ((power - c1).clip(0) / (c2 - c3 * power)) ** np.float32(1 / m1)


def _hlg_nits(signal: NDArray[Any]) -> NDArray[Any]:
    """ITU-R BT.2100: the inverse OETF, then the OOTF of a 1000-nit screen (system gamma 1.2)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / np.float32(a)) + b) / 12)
    luma = np.tensordot(np.array([0.2627, 0.6780, 0.0593], np.float32), scene, axes=1)
    return _PEAK_NITS * scene * luma**0.2
