"""Pixel formats that can be filtered, and views of a decoded frame's planes without copying."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError

if TYPE_CHECKING:
    from av import VideoFrame

__all__ = ["FORMATS", "PixelFormat", "Plane", "pixel_format", "planar", "plane_view", "relabelled"]

Plane = NDArray[Any]
"""uint8 [H, W] for 8 bits, uint16 [H, W] above: code values up to 2 ** bit_depth - 1."""


@dataclass(frozen=True, kw_only=True)
class PixelFormat:
    """A planar format, as FFmpeg names it: Y'CbCr, grey or R'G'B', with or without alpha."""

    name: str
    bit_depth: int
    chroma_step: tuple[int, int] | None
    """(horizontal, vertical) luma samples a chroma sample: (2, 2) for 4:2:0. None for grey."""
    full_range: bool = False
    """The old `yuvj` names, and R'G'B', say full range by the name alone."""
    alpha: bool = False
    """Whether its last plane is opacity, which is never filtered."""
    rgb: bool = False
    """Whether its planes are G', B', R' and not Y', Cb, Cr."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of one sample."""
        return np.dtype(np.uint8 if self.bit_depth == 8 else np.uint16)

    @property
    def peak(self) -> int:
        """The largest code value."""
        return (1 << self.bit_depth) - 1

    @property
    def plain_name(self) -> str:
        """The name without the `j` of full range."""
        return self.name.replace("yuvj", "yuv")


def _table() -> dict[str, PixelFormat]:
    formats = []

    def add(name: str, bit_depth: int, chroma_step: tuple[int, int] | None, **more: bool) -> None:
        suffix = "" if bit_depth == 8 else f"{bit_depth}le"
        formats.append(PixelFormat(name=name + suffix, bit_depth=bit_depth, chroma_step=chroma_step, **more))

    for depth in (8, 9, 10, 12, 14, 16):
        for sampling, step in (("420", (2, 2)), ("422", (2, 1)), ("444", (1, 1))):
            add(f"yuv{sampling}p", depth, step)
            if depth == 8:
                add(f"yuvj{sampling}p", depth, step, full_range=True)
            if depth != 14 and (depth, sampling) != (12, "420"):
                add(f"yuva{sampling}p", depth, step, alpha=True)
        add("gray", depth, None)
        add("gbrp", depth, (1, 1), rgb=True, full_range=True)
        if depth != 9:
            add("gbrap", depth, (1, 1), rgb=True, full_range=True, alpha=True)
    return {each.name: each for each in formats}


FORMATS = _table()
"""Name -> what it is: 8 to 16 bits, 4:2:0, 4:2:2, 4:4:4, grey and R'G'B', with or without alpha."""

_UNPACKED = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "p010le": "yuv420p10le",
    "p210le": "yuv422p10le",
    "p012le": "yuv420p12le",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "yvyu422": "yuv422p",
    "gray10be": "gray10le",
    "gray16be": "gray16le",
    "rgb24": "gbrp",
    "bgr24": "gbrp",
    "rgb0": "gbrp",
    "bgr0": "gbrp",
    "0rgb": "gbrp",
    "0bgr": "gbrp",
    "rgba": "gbrap",
    "bgra": "gbrap",
    "argb": "gbrap",
    "abgr": "gbrap",
    "rgb48le": "gbrp16le",
    "rgb48be": "gbrp16le",
    "rgba64le": "gbrap16le",
    "rgba64be": "gbrap16le",
}
"""Formats of cameras, screens and hardware decoders -> where the same samples lie in a plane each."""


def pixel_format(name: str | None) -> PixelFormat:
    """Return the format called `name`, or the planar one with the same samples.

    Raises:
        InputError: it is none that can be filtered.
    """
    name = _UNPACKED.get(name or "", name)
    if name not in FORMATS:
        raise InputError(
            f"the video's pixel format is {name or 'unknown'}; 4:2:0, 4:2:2, 4:4:4, grey and RGB of 8 to 16 bits can "
            "be filtered; convert the clip first, for instance with ffmpeg -pix_fmt yuv420p10le"
        )
    return FORMATS[name]


def planar(frame: VideoFrame) -> VideoFrame:
    """Return the frame with a plane for each component: itself, or a copy with the same samples, times and side data.

    Raises:
        InputError: its format is none that can be filtered.
    """
    form = pixel_format(frame.format.name)
    if form.name == frame.format.name:
        return frame
    return relabelled(frame, form.name)


def plane_view(frame: VideoFrame, index: int) -> Plane:
    """Return plane `index` of a frame as an array that shares its memory.

    The view keeps the frame's buffer alive. Writing to it is allowed only after `frame.make_writable()`, before which
    the decoder may still predict from that memory.

    Args:
        frame: of a format in `FORMATS`.
        index: 0 for Y, 1 for Cb, 2 for Cr; 0 for G, 1 for B, 2 for R; the last for alpha.
    """
    plane = frame.planes[index]
    dtype = FORMATS[frame.format.name].dtype
    rows = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)  # type: ignore[call-overload]
    return rows[: plane.height, : plane.width]


def relabelled(frame: VideoFrame, name: str) -> VideoFrame:
    """Return a frame with the same samples, times and side data in another format that can hold them exactly.

    For planes that lie apart instead of together, and for encoders that know full range as a tag only: `yuvj420p`
    becomes `yuv420p`.
    """
    # Of one range, lest FFmpeg scale the samples. By one thread: several write beyond the ends of their rows, into what
    # another has just written.
    other = frame.reformat(format=name, src_color_range=2, dst_color_range=2, threads=1)
    other.color_range = frame.color_range
    return other
