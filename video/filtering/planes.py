"""From a decoded frame to what an engine takes, and back into the frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from postfilter.errors import InputError
from postfilter.video.filtering.colour import Colour, choose_matrix, choose_siting
from postfilter.video.pixels import Plane

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from postfilter.runtime import Engine
    from postfilter.video.filtering.qp_skip import Blocks
    from postfilter.video.frame import Frame
    from postfilter.video.reading.source import ClipInfo

__all__ = ["FramePlanes", "GbrPlanes", "LumaPlanes", "RgbPlanes", "planes_for"]


class FramePlanes(Protocol):
    """What stands between a frame and an engine's samples.

    Interlaced frames are filtered field by field: their two fields were taken at different times, and a network that
    sees them woven together would blend them. The fields go through the engine as a pair, top field first in memory.
    """

    def take(self, frame: Frame) -> Plane:
        """Return the frame's samples for the engine, [N, C, H, W], of the engine's type; N is 2 for two fields.

        The frame is only read.
        """
        ...

    def put(self, frame: Frame, before: Plane, after: Plane, keep: Blocks | None = None) -> Frame:
        """Return the frame with the engine's output in it; its timestamps, tags and side data stay.

        Args:
            frame: the one that `before` was taken from. Its memory is used again where nobody else reads it.
            before: what `take` returned.
            after: the engine's output for it.
            keep: blocks that are the same in both, and shall leave as they came; see `runtime.StreamItem.keep`.
        """
        ...


class LumaPlanes:
    """Y goes through the engine; everything else is not touched, so it leaves bit for bit as it came."""

    def take(self, frame: Frame) -> Plane:
        """Return Y as [N, 1, H, W], contiguous."""
        return _paired([each[0][None] for each in _fields(frame)])

    def put(self, frame: Frame, before: Plane, after: Plane, keep: Blocks | None = None) -> Frame:
        """Replace Y."""
        frame = frame.writable()
        for (y, *_), filtered in zip(_fields(frame), after, strict=True):
            y[...] = filtered[0, : y.shape[0]]
        return frame


class RgbPlanes:
    """R'G'B' goes through the engine; the change it made is brought back to Y, Cb and Cr.

    Args:
        colour: the stream's matrix, range and siting.
    """

    def __init__(self, colour: Colour) -> None:
        self.colour = colour

    def take(self, frame: Frame) -> Plane:
        """Return R'G'B' at full range as [N, 3, H, W]."""
        return _paired([self.colour.to_rgb(*planes[:3]) for planes in _fields(frame)])

    def put(self, frame: Frame, before: Plane, after: Plane, keep: Blocks | None = None) -> Frame:
        """Add the change between `before` and `after` to the three planes."""
        frame = frame.writable()
        for index, ((y, cb, cr, *_), old, new) in enumerate(zip(_fields(frame), before, after, strict=True)):
            rows = slice(0, y.shape[0])
            came = () if keep is None else (cb.copy(), cr.copy())
            self.colour.apply_change((y, cb, cr), old[:, rows], new[:, rows])
            if keep is not None:
                # A chroma sample is made of several, some of which may lie in a neighbour that is not kept.
                for plane, as_it_came in zip((cb, cr), came, strict=True):
                    np.copyto(plane, as_it_came, where=_samples_in(keep[index], plane.shape, y.shape))
        return frame


class GbrPlanes:
    """R'G'B' as the clip has it goes through the engine; alpha stays."""

    def take(self, frame: Frame) -> Plane:
        """Return R'G'B' as [N, 3, H, W]."""
        return _paired([np.stack([r, g, b]) for g, b, r, *_ in _fields(frame)])

    def put(self, frame: Frame, before: Plane, after: Plane, keep: Blocks | None = None) -> Frame:
        """Replace the three planes."""
        frame = frame.writable()
        for (g, b, r, *_), filtered in zip(_fields(frame), after, strict=True):
            for plane, samples in zip((r, g, b), filtered, strict=True):
                plane[...] = samples[: plane.shape[0]]
        return frame


def planes_for(clip: ClipInfo, engine: Engine) -> FramePlanes:
    """Return how this clip's frames are given to this engine.

    Raises:
        InputError: the engine is loaded for another bit depth, the clip has no chroma or an unknown matrix and the
            engine works on R'G'B', or the clip is R'G'B' and the engine works on luma.
    """
    if engine.bit_depth != clip.format.bit_depth:
        raise InputError(
            f"{clip.path} has {clip.format.bit_depth} bits a sample and the engine is loaded for {engine.bit_depth}; "
            f"load it with load_engine(…, bit_depth={clip.format.bit_depth})"
        )
    if clip.format.rgb:
        if engine.layout == "luma":
            raise InputError(
                f"{clip.path} is RGB ({clip.format.name}) and the engine works on luma; use an RGB engine, such as "
                "fastarcnn, or convert the clip first, for instance with ffmpeg -pix_fmt yuv444p"
            )
        return GbrPlanes()
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


def _fields(frame: Frame) -> list[tuple[Plane, ...]]:
    """The planes of each part that is filtered by itself: the frame, or its top and its bottom field."""
    if not frame.interlaced:
        return [frame.planes]
    return [tuple(plane[parity::2] for plane in frame.planes) for parity in (0, 1)]


def _samples_in(keep: NDArray[np.bool_], chroma: tuple[int, ...], luma: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which chroma samples belong to kept blocks of 16x16 luma samples."""
    y, x = (
        (np.arange(size) * -(-whole // size) // 16).clip(max=blocks - 1)
        for size, whole, blocks in zip(chroma, luma, keep.shape, strict=True)
    )
    return keep[np.ix_(y, x)]


def _paired(parts: list[Plane]) -> Plane:
    """[C, H, W] of each part as one array; the bottom field of an odd number of lines gets its last line twice."""
    if len(parts) == 1:
        return np.ascontiguousarray(parts[0])[None]
    pair = np.empty((len(parts), *parts[0].shape), parts[0].dtype)
    for target, part in zip(pair, parts, strict=True):
        target[:, : part.shape[1]] = part
        target[:, part.shape[1] :] = part[:, -1:]
    return pair
