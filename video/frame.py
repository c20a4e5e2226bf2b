"""The exchange type: one picture, its samples where they lie, and what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.video.pixels import PixelFormat, Plane, pixel_format, planar, plane_view

if TYPE_CHECKING:
    from av import VideoFrame

__all__ = ["ColourTags", "Frame"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourTags:
    """What the samples mean, in the numbers of ITU-T H.273; 2 is unspecified."""

    matrix: int = 2
    transfer: int = 2
    primaries: int = 2
    full_range: bool = False
    """Whether luma spans 0..peak; else 16..235 at 8 bits."""
    siting: str = "unspecified"
    """Where chroma samples lie: FFmpeg's names (`left`, `center`, `topleft`, …)."""


@dataclass(slots=True, kw_only=True)
class Frame:
    """One decoded or filtered picture.

    `planes` share the memory of the decoder's frame, or of the arrays it was made from: nothing is copied on the way
    in or out. Treat them as read-only; the decoder may still predict from them.
    """

    planes: tuple[Plane, ...]
    """Y, or Y, Cb, Cr, then alpha where there is one: [H, W] each, uint8 at 8 bits, uint16 code values above."""
    format: PixelFormat
    pts: int
    """Presentation time in ticks of `time_base`."""
    duration: int = 0
    """In ticks; 0 where it is not known."""
    time_base: Fraction
    """Seconds a tick."""
    colour: ColourTags = ColourTags()
    interlaced: bool = False
    """Whether its two fields were taken at different times; they are then filtered each by itself."""
    sample_aspect_ratio: Fraction | None = None
    """Width of a sample over its height where it is shown; None where that is not known."""
    rotation: int = 0
    """By which it is turned to be shown, in degrees against the clock; a multiple of 90."""
    key_frame: bool = False
    qp: NDArray[np.float32] | None = None
    """Quantiser of each block of 16x16 samples, [ceil(H / 16), ceil(W / 16)], where the bitstream tells it and
    it was asked for: as H.264 and HEVC count it, 0..51, and down to -6 for each bit above 8. See `reading.qp`."""
    picture: VideoFrame | None = None
    """PyAV's frame that owns the memory, where there is one; it knows which field of an interlaced frame is first."""

    @property
    def width(self) -> int:
        """Of luma, in samples."""
        return int(self.planes[0].shape[1])

    @property
    def height(self) -> int:
        """Of luma, in samples."""
        return int(self.planes[0].shape[0])

    @property
    def pts_seconds(self) -> float:
        """Presentation time."""
        return float(self.pts * self.time_base)

    @classmethod
    def from_av(
        cls,
        picture: VideoFrame,
        *,
        colour: ColourTags,
        qp: NDArray[np.float32] | None = None,
        sample_aspect_ratio: Fraction | None = None,
    ) -> Frame:
        """Wrap PyAV's frame, whose memory is shared; samples that lie together, as in `nv12`, are copied apart.

        Raises:
            InputError: its pixel format is none that can be filtered.
        """
        picture = planar(picture)
        return cls(
            planes=_views(picture),
            format=pixel_format(picture.format.name),
            pts=0 if picture.pts is None else picture.pts,
            duration=picture.duration or 0,
            time_base=picture.time_base or Fraction(1, 90000),
            colour=colour,
            interlaced=picture.interlaced_frame,
            sample_aspect_ratio=sample_aspect_ratio,
            rotation=90 * round(picture.rotation / 90),
            key_frame=bool(picture.key_frame),
            qp=qp,
            picture=picture,
        )

    @classmethod
    def from_planes(
        cls,
        planes: Sequence[NDArray[Any]],
        *,
        format: str,  # noqa: A002  # FFmpeg's and PyAV's word for it
        pts: int,
        time_base: Fraction,
        duration: int = 0,
        colour: ColourTags | None = None,
    ) -> Frame:
        """Make a frame of arrays, which are shared.

        Args:
            planes: [H, W] each, of the format's type.
            format: FFmpeg's name, such as `yuv420p10le`.
            pts: in ticks of `time_base`.
            time_base: seconds a tick.
            duration: in ticks.
            colour: what the samples mean.

        Raises:
            InputError: the arrays are not what the format says.
        """
        form = pixel_format(format)
        if any(each.ndim != 2 or each.dtype != form.dtype for each in planes):
            got = ", ".join(f"{each.dtype} {each.shape}" for each in planes)
            raise InputError(f"got planes {got}; {format} takes {form.dtype} arrays of shape [H, W]")
        return cls(
            planes=tuple(planes),
            format=form,
            pts=pts,
            duration=duration,
            time_base=time_base,
            colour=colour or ColourTags(full_range=form.full_range),
        )

    def writable(self) -> Frame:
        """Return a frame whose planes may be written to: this one's memory where nobody else reads it, else a copy."""
        if self.picture is None:
            return replace(self, planes=tuple(each.copy() for each in self.planes))
        self.picture.make_writable()
        return replace(self, planes=_views(self.picture))

    def copy(self) -> Frame:
        """Return a frame with memory of its own, and no PyAV frame behind it."""
        return replace(self, planes=tuple(each.copy() for each in self.planes), picture=None)

    def to_av(self) -> VideoFrame:
        """Return PyAV's frame: the one this was made from, else a new one with copied samples."""
        if self.picture is not None:
            return self.picture
        from av import VideoFrame

        made = VideoFrame(self.width, self.height, self.format.name)
        for index, plane in enumerate(self.planes):
            plane_view(made, index)[...] = plane
        made.pts, made.duration, made.time_base = self.pts, self.duration, self.time_base
        made.colorspace, made.color_trc = self.colour.matrix, self.colour.transfer
        made.color_primaries, made.color_range = self.colour.primaries, 2 if self.colour.full_range else 1
        return made


def _views(picture: VideoFrame) -> tuple[Plane, ...]:
    return tuple(plane_view(picture, index) for index in range(len(picture.planes)))
