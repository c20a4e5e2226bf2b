"""From a decoded frame to what an engine takes, and back into the frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from postfilter.errors import InputError
from postfilter.video.filtering.colour import Colour, choose_matrix, choose_siting
from postfilter.video.pixels import Plane, plane_view

if TYPE_CHECKING:
    from av import VideoFrame

    from postfilter.runtime import Engine
    from postfilter.video.reading.source import ClipInfo

__all__ = ["FramePlanes", "LumaPlanes", "RgbPlanes", "planes_for"]


class FramePlanes(Protocol):
    """What stands between a frame and an engine's samples."""

    def take(self, frame: VideoFrame) -> Plane:
        """Return the frame's samples for the engine, [1, C, H, W], of the engine's type. The frame is only read."""
        ...

    def put(self, frame: VideoFrame, before: Plane, after: Plane) -> None:
        """Write the engine's output into the frame, whose timestamps, tags and side data stay.

        Args:
            frame: the one that `before` was taken from.
            before: what `take` returned.
            after: the engine's output for it.
        """
        ...


class LumaPlanes:
    """Y goes through the engine; chroma is not touched, so it leaves bit for bit as it came."""

    def take(self, frame: VideoFrame) -> Plane:
        """Return Y as [1, 1, H, W], contiguous."""
        return np.ascontiguousarray(plane_view(frame, 0))[None, None]

    def put(self, frame: VideoFrame, before: Plane, after: Plane) -> None:
        """Replace Y."""
        frame.make_writable()
        plane_view(frame, 0)[...] = after[0, 0]


class RgbPlanes:
    """R'G'B' goes through the engine; the change it made is brought back to Y, Cb and Cr.

    Args:
        colour: the stream's matrix, range and siting.
    """

    def __init__(self, colour: Colour) -> None:
        self.colour = colour

    def take(self, frame: VideoFrame) -> Plane:
        """Return R'G'B' at full range as [1, 3, H, W]."""
        y, cb, cr = (plane_view(frame, index) for index in range(3))
        return self.colour.to_rgb(y, cb, cr)[None]

    def put(self, frame: VideoFrame, before: Plane, after: Plane) -> None:
        """Add the change between `before` and `after` to the three planes."""
        frame.make_writable()
        y, cb, cr = (plane_view(frame, index) for index in range(3))
        self.colour.apply_change((y, cb, cr), before[0], after[0])


def planes_for(clip: ClipInfo, engine: Engine) -> FramePlanes:
    """Return how this clip's frames are given to this engine.

    Raises:
        InputError: the engine is loaded for another bit depth, or the clip has no chroma or an unknown matrix and the
            engine works on R'G'B'.
    """
    if engine.bit_depth != clip.format.bit_depth:
        raise InputError(
            f"{clip.path} has {clip.format.bit_depth} bits a sample and the engine is loaded for {engine.bit_depth}; "
            f"load it with load_engine(…, bit_depth={clip.format.bit_depth})"
        )
    if engine.layout == "luma":
        return LumaPlanes()
    if clip.format.chroma_step is None:
        raise InputError(
            f"{clip.path} is grey ({clip.format.name}) and the engine works on R'G'B'; use a luma engine, such as "
            "fastarcnn-luma"
        )
    matrix = choose_matrix(clip.matrix, width=clip.width, height=clip.height)
    return RgbPlanes(
        Colour(format=clip.format, matrix=matrix, full_range=clip.full_range, siting=choose_siting(clip.siting))
    )
