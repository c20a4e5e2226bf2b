"""The frames before and after a frame, moved onto it: what engines that declare `previous` and `next` read.

An inter-coded frame has lost what a neighbour may still show: other samples of the same things, coded finer or just
otherwise. A convolution finds them where they lie at the same place in all frames, so the neighbours are moved along
the optical flow (DIS: Kroeger, Timofte, Dai, Van Gool, "Fast Optical Flow using Dense Inverse Search", ECCV 2016, in
OpenCV). What one shows after a cut is of no use: there the frame itself stands for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from postfilter.runtime.backend import Samples
    from postfilter.runtime.further_inputs import FurtherInput

__all__ = ["NEIGHBOURS", "aligned", "in_threes", "neighbours_of", "reads_neighbours"]

NEIGHBOURS = ("previous", "next")
"""The inputs of an engine that are made here."""

Item = TypeVar("Item")


class Reader(Protocol):
    """An engine or its manifest."""

    @property
    def inputs(self) -> tuple[FurtherInput, ...]:
        """What it reads beside the picture."""


_LEAST = 32
"""Sides of the least picture in which DIS finds motion; in smaller ones none is followed."""
_FINEST_SCALE, _PATCH_STRIDE = 1, 6
"""Flow at half the resolution, from patches every 6 samples of it. At a quarter it takes half of the time and loses a
fifth to a third of what neighbours are worth; patches every 4 samples take 1.8 times as long and add a tenth (frames at
HEVC QP 37, the best linear combination of the three)."""
_CUT_BLOCK = 16
_CUT_LEAST = 4.0
"""Mean difference in code values of 8 bits up to which no frame is another scene."""


def reads_neighbours(engine: Reader) -> bool:
    """Whether an engine declares inputs that are made here."""
    return any(each.name in NEIGHBOURS for each in engine.inputs)


def neighbours_of(frame: Samples, before: Samples | None, after: Samples | None) -> dict[str, Samples]:
    """Return what an engine that reads the neighbours is given beside a frame, by name.

    Args:
        frame: [N, 1, H, W], uint8 or uint16; N is 2 for the fields of an interlaced frame.
        before: the frame before it, of the same type; None where there is none, or it is of another shape.
        after: the frame after it, likewise.

    Returns:
        `previous` and `next`, each [N, H, W]; the frame itself where it has no such neighbour or there is a cut.
    """
    given = dict(zip(NEIGHBOURS, (before, after), strict=True))
    return {
        name: frame[:, 0]
        if other is None or other.shape != frame.shape
        else np.stack([aligned(at, to) for at, to in zip(frame[:, 0], other[:, 0], strict=True)])
        for name, other in given.items()
    }


def in_threes(
    frames: Iterable[tuple[Item, Samples]],
) -> Iterator[tuple[Item, Samples, Samples | None, Samples | None]]:
    """Yield each frame of a clip with those before and after it, for `neighbours_of`; one frame is read ahead.

    Args:
        frames: any items in the order in which they are shown, each with its planes, [N, 1, H, W]. These may be written
            to once they were yielded.

    Yields:
        The item, its planes, those of the item before, and those of the item after; None at the ends.
    """
    before: Samples | None = None
    held: tuple[Item, Samples] | None = None
    for item, planes in frames:
        if held is not None:
            copied = held[1].copy()
            yield *held, before, planes
            before = copied
        held = item, planes
    if held is not None:
        yield *held, before, None


def aligned(frame: Samples, other: Samples) -> Samples:
    """Return another frame as it looks when everything in it lies where it lies in this one.

    Args:
        frame: uint8 or uint16 [H, W].
        other: the same type and shape.

    Returns:
        A new array, or `frame` itself: where the two are the same, or of different scenes.
    """
    import cv2

    if np.array_equal(frame, other):
        return frame
    height, width = frame.shape
    moved = other
    # Motion needs no more than 8 bits, and the search takes no more.
    shift = max(int(max(frame.max(), other.max())).bit_length() - 8, 0)
    at = _eight_bits(frame, shift)
    if min(height, width) >= _LEAST:
        places = _search().calc(at, _eight_bits(other, shift), None)
        places[..., 0] += np.arange(width, dtype=np.float32)
        places[..., 1] += np.arange(height, dtype=np.float32)[:, None]
        nothing: Any = None  # the second map, which the stubs want
        moved = np.asarray(cv2.remap(other, places, nothing, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return frame if _is_cut(at, _eight_bits(moved, shift)) else moved


def _search() -> Any:
    """DIS, set up; it keeps buffers and is used by one thread at a time, so each call has its own."""
    import cv2

    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    search.setFinestScale(_FINEST_SCALE)
    search.setPatchStride(_PATCH_STRIDE)
    return search


def _eight_bits(samples: Samples, shift: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(samples) if samples.dtype == np.uint8 else (samples >> shift).astype(np.uint8)


def _is_cut(frame: NDArray[np.uint8], moved: NDArray[np.uint8]) -> bool:
    """Whether a frame is told better by the means of its own blocks than by what a neighbour shows, as a coder asks."""
    import cv2

    apart = float(cv2.norm(frame, moved, cv2.NORM_L1)) / frame.size
    if apart <= _CUT_LEAST:
        return False
    height, width = frame.shape
    small = (max(width // _CUT_BLOCK, 1), max(height // _CUT_BLOCK, 1))
    means = cv2.resize(cv2.resize(frame, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=0)
    return apart > float(cv2.norm(frame, means, cv2.NORM_L1)) / frame.size
