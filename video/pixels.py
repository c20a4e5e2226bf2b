"""Pixel formats that can be filtered, and views of a decoded frame's planes without copying."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError

if TYPE_CHECKING:
    from av import VideoFrame

__all__ = ["FORMATS", "PixelFormat", "Plane", "pixel_format", "plane_view", "relabelled"]

Plane = NDArray[Any]
"""uint8 [H, W] for 8 bits, uint16 [H, W] above: code values up to 2 ** bit_depth - 1."""


@dataclass(frozen=True, kw_only=True)
class PixelFormat:
    """A planar Y'CbCr (or grey) format, as FFmpeg names it."""

    name: str
    bit_depth: int
    chroma_step: tuple[int, int] | None
    """(horizontal, vertical) luma samples a chroma sample: (2, 2) for 4:2:0. None for grey."""
    full_range: bool = False
    """The old `yuvj` names say full range by the name alone."""

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
    for sampling, step in (("420", (2, 2)), ("422", (2, 1)), ("444", (1, 1))):
        formats.append(PixelFormat(name=f"yuv{sampling}p", bit_depth=8, chroma_step=step))
        formats.append(PixelFormat(name=f"yuvj{sampling}p", bit_depth=8, chroma_step=step, full_range=True))
        formats.append(PixelFormat(name=f"yuv{sampling}p10le", bit_depth=10, chroma_step=step))
    formats.append(PixelFormat(name="gray", bit_depth=8, chroma_step=None))
    formats.append(PixelFormat(name="gray10le", bit_depth=10, chroma_step=None))
    return {each.name: each for each in formats}


FORMATS = _table()
"""Name -> what it is: 8 and 10 bits, 4:2:0, 4:2:2, 4:4:4 and grey."""


def pixel_format(name: str | None) -> PixelFormat:
    """Return the format called `name`.

    Raises:
        InputError: it is none that can be filtered.
    """
    if name not in FORMATS:
        raise InputError(
            f"the video's pixel format is {name or 'unknown'}; these can be filtered: {', '.join(FORMATS)}; "
            "convert the clip first, for instance with ffmpeg -pix_fmt yuv420p10le"
        )
    return FORMATS[name]


def plane_view(frame: VideoFrame, index: int) -> Plane:
    """Return plane `index` of a frame as an array that shares its memory.

    The view keeps the frame's buffer alive. Writing to it is allowed only after `frame.make_writable()`, before which
    the decoder may still predict from that memory.

    Args:
        frame: of a format in `FORMATS`.
        index: 0 for Y, 1 for Cb, 2 for Cr.
    """
    plane = frame.planes[index]
    dtype = FORMATS[frame.format.name].dtype
    rows = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)  # type: ignore[call-overload]
    return rows[: plane.height, : plane.width]


def relabelled(frame: VideoFrame, name: str) -> VideoFrame:
    """Return a frame with the same samples and times under another format's name of the same layout.

    For encoders that know full range as a tag only: `yuvj420p` becomes `yuv420p`. FFmpeg's own conversion between the
    two would rescale the samples.
    """
    from av import VideoFrame

    other = VideoFrame(frame.width, frame.height, name)
    for index in range(len(frame.planes)):
        plane_view(other, index)[...] = plane_view(frame, index)
    other.pts, other.duration, other.time_base = frame.pts, frame.duration, frame.time_base
    other.colorspace, other.color_range = frame.colorspace, frame.color_range
    other.color_primaries, other.color_trc = frame.color_primaries, frame.color_trc
    return other
