"""What is known of a clip before its second frame is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from av import VideoFrame
from av.video.stream import VideoStream

from postfilter.video.frame import ColourTags
from postfilter.video.pixels import PixelFormat

__all__ = ["ClipInfo", "describe", "frame_rate"]

_NOT_CARRIED = {
    "AMBIENT_VIEWING_ENVIRONMENT": "the ambient viewing environment",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata",
    "FILM_GRAIN_PARAMS": "film grain to be added by the player",
    "ICC_PROFILE": "the ICC profile",
    "SPHERICAL": "the spherical projection",
    "STEREO3D": "the arrangement of stereoscopic views",
}
"""Side data of frames that PyAV cannot give to an encoder or a container, and what is lost with it."""
_UNSPECIFIED = 2
_SLOWEST = Fraction(1, 86400)
"""Frames a second: one a day."""
_INTERLACED = (2, 3, 4, 5)
"""AVFieldOrder of libavcodec: two fields, in whatever order they are coded and shown."""


@dataclass(frozen=True, kw_only=True)
class ClipInfo:
    """What is known of a clip before its second frame is decoded."""

    path: Path
    width: int
    height: int
    format: PixelFormat
    frame_rate: Fraction
    """Frames a second, as near as the container tells."""
    frames: int | None
    """How many are to be expected; None where the container does not say."""
    full_range: bool
    matrix: int
    """Matrix coefficients, transfer and primaries are numbers of ITU-T H.273; 2 is unspecified."""
    transfer: int
    primaries: int
    siting: str
    """Where chroma samples lie: FFmpeg's names, `unspecified` where the stream does not say."""
    sample_aspect_ratio: Fraction | None
    display_matrix: tuple[int, ...] | None
    """Nine numbers as FFmpeg has them, where the picture is to be rotated or mirrored for display."""
    interlaced: bool
    """Whether the first frame, or the stream's header, says so; a later frame may be of the other kind, and each
    carries the order of its fields to the encoder."""
    side_data: dict[str, bytes]
    """What the first frame carries besides its samples: FFmpeg's name -> its structure in memory."""

    @property
    def bit_depth(self) -> int:
        """Bits a sample."""
        return self.format.bit_depth

    @property
    def colour(self) -> ColourTags:
        """What the samples mean."""
        return ColourTags(
            matrix=self.matrix,
            transfer=self.transfer,
            primaries=self.primaries,
            full_range=self.full_range,
            siting=self.siting,
        )


def describe(
    path: Path,
    stream: VideoStream,
    frame: VideoFrame,
    *,
    form: PixelFormat,
    siting: str,
    warnings: list[str],
) -> ClipInfo:
    """Gather what a track's header and its first frame tell.

    Args:
        path: the file.
        stream: the track.
        frame: its first frame.
        form: the format in which frames are handed out.
        siting: where chroma samples lie.
        warnings: gathers what cannot be carried over.
    """
    context = stream.codec_context
    side_data = _side_data(frame)
    if side_data is None:
        warnings.append("the frames carry data unknown to PyAV; HDR metadata is not read")
        side_data = {}
    transfer = _specified(frame.color_trc, context.color_trc)
    for kind in sorted(_NOT_CARRIED.keys() & side_data.keys()):
        warnings.append(f"{_NOT_CARRIED[kind]} cannot be carried over")
    if side_data.keys() & {"DOVI_METADATA", "DOVI_RPU_BUFFER"}:
        base = "; without it this clip's colours are wrong" if transfer == _UNSPECIFIED else ""
        warnings.append(f"Dolby Vision metadata cannot be carried over{base}")
    return ClipInfo(
        path=path,
        width=frame.width,
        height=frame.height,
        format=form,
        frame_rate=frame_rate(stream),
        frames=_expected_frames(stream),
        full_range=form.full_range or int(frame.color_range or context.color_range) == 2,
        matrix=_specified(frame.colorspace, context.colorspace),
        transfer=transfer,
        primaries=_specified(frame.color_primaries, context.color_primaries),
        siting=siting,
        sample_aspect_ratio=stream.sample_aspect_ratio,
        display_matrix=_display_matrix(side_data, frame.rotation),
        side_data=side_data,
        interlaced=frame.interlaced_frame or context.field_order in _INTERLACED,
    )


def frame_rate(stream: VideoStream) -> Fraction:
    """Return the likeliest of what FFmpeg knows; some containers give a rate of their clock, such as 1000."""
    for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate):
        if rate and _SLOWEST <= rate <= 480:
            return Fraction(rate).limit_denominator(1_000_000)
    return Fraction(25)


def _expected_frames(stream: VideoStream) -> int | None:
    if stream.frames:
        return stream.frames
    container: Any = stream.container  # an input's, which the stubs do not tell
    seconds = Fraction(container.duration or 0, 1_000_000)
    if stream.duration and stream.time_base:
        seconds = stream.duration * stream.time_base
    return round(seconds * frame_rate(stream)) or None


def _specified(first: int, second: int) -> int:
    return int(first) if int(first) != _UNSPECIFIED else int(second)


def _display_matrix(side_data: dict[str, bytes], rotation: int) -> tuple[int, ...] | None:
    data = side_data.get("DISPLAYMATRIX")
    if data is not None:
        return struct.unpack("<9i", data[:36])
    quarter = {90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), -180: (-1, 0, 0, -1), -90: (0, 1, -1, 0)}.get(rotation)
    if quarter is None:
        return None
    a, b, c, d = (each << 16 for each in quarter)
    return (a, b, 0, c, d, 0, 0, 0, 1 << 30)


def _side_data(frame: VideoFrame) -> dict[str, bytes] | None:
    """What the frame carries besides its samples; None where it carries a kind that PyAV has no name for."""
    try:
        # It is iterated by value, whatever the stubs say.
        entries: list[Any] = list(frame.side_data)
    except ValueError:
        return None
    return {each.type.name: bytes(each) for each in entries}
