"""The rungs that the given engines make, and what is done to a frame on each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.errors import PostfilterError
from postfilter.runtime.changes import block_grid
from postfilter.runtime.neighbours import neighbours_of, reads_neighbours
from postfilter.runtime.tile_reuse import TileUse
from postfilter.video.filtering.guard import Guard
from postfilter.video.filtering.planes import LumaPlanes, RgbPlanes, planes_for
from postfilter.video.filtering.qp_skip import told
from postfilter.video.realtime.ladder import Rung

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from postfilter.runtime import Engine
    from postfilter.video.filtering.colour import Colour
    from postfilter.video.filtering.guard import GuardMode
    from postfilter.video.filtering.planes import FramePlanes
    from postfilter.video.filtering.qp_skip import Blocks
    from postfilter.video.frame import Frame
    from postfilter.video.pixels import Plane
    from postfilter.video.reading.source import ClipInfo

__all__ = ["GreyPlanes", "Work", "build_rungs"]


class Work:
    """One filter of the ladder: an engine, and how frames are given to it.

    A picture that stands still is filtered once: samples that are those filtered before get the output of these.

    Args:
        engine: what filters, one frame at a time: nothing waits for the frame after it.
        planes: how frames are given to it.
        guard: what is done where the engine's output is no filtering; there is no time to filter again.

    Attributes:
        frames: how many it was given, those that are only tried out left out.
        tiles: what became of the tiles of them all.
        last: of the frame that came last.
        objection: what the guard found in the frame that came last, and did; None where all was well.
    """

    def __init__(self, engine: Engine, planes: FramePlanes, guard: GuardMode = "pass") -> None:
        self.engine, self.planes = engine, planes
        self.guard = Guard(engine, mode="pass" if guard == "redo" else guard)
        self.frames = 0
        self.tiles = self.last = TileUse()
        self.objection: str | None = None
        self._before: Plane | None = None
        """A copy of what the engine filtered last, whose own memory may be written to since."""
        self._after: Plane | None = None
        """What it made of it."""
        self._seen: Plane | None = None
        """A copy of the frame that came last, where the engine reads it as a neighbour."""

    def __call__(self, frame: Frame, index: int | None = None) -> Frame:
        """Return the frame filtered.

        Args:
            frame: whose memory is used again where nobody else reads it.
            index: its number, for the guard's report; None for a frame that is only tried out, which is not looked at.

        Raises:
            PostfilterError: the engine fails.
        """
        before = self.planes.take(frame)
        inputs = told(self.engine, frame) | self._around(before)
        after = self._known(before) if index is not None else None
        blocks = math.prod(block_grid(before.shape))
        self.last = TileUse(total=blocks, reused=0 if after is None else blocks)
        if after is None:
            after = self._filtered(before, inputs)
        if index is not None:
            self.frames += 1
            self.tiles += self.last
            after, self.objection = self.guard.check(before, after, frame=index, pts_seconds=frame.pts_seconds)
        return self.planes.put(frame, before, after)

    def _known(self, before: Plane) -> Plane | None:
        """The output of the same samples, where they are those that were filtered last."""
        return self._after if self._before is not None and np.array_equal(before, self._before) else None

    def _around(self, samples: Plane) -> dict[str, Plane]:
        """The frame before, where the engine reads neighbours; the one after it is not there yet."""
        if not reads_neighbours(self.engine):
            return {}
        around = neighbours_of(samples, self._seen, None)
        self._seen = samples.copy()
        return around

    def _filtered(self, before: Plane, inputs: Mapping[str, NDArray[Any]]) -> Plane:
        try:
            after = self.engine(before, inputs=inputs)
        except PostfilterError:
            raise
        except Exception as error:
            raise PostfilterError(f"the engine failed ({error}); try another precision or --backend") from error
        if not self.engine.inputs:  # whose values may change where the picture does not
            self._before, self._after = before.copy(), after
        return after


class GreyPlanes(LumaPlanes):
    """Luma alone through an engine for R'G'B', as a grey picture: the costly conversion of colour is saved.

    Args:
        colour: the stream's matrix and range.
    """

    def __init__(self, colour: Colour) -> None:
        form = colour.format
        codes = np.arange(form.peak + 1, dtype=form.dtype)[None]
        zero = np.full_like(codes, (form.peak + 1) // 2)
        self._grey = replace(colour, format=replace(form, chroma_step=(1, 1))).to_rgb(codes, zero, zero)[0, 0]
        # One code value of luma in code values of R'G'B'.
        self._scale = np.float32(1 if colour.full_range else form.peak / (219 << (form.bit_depth - 8)))
        self._peak = form.peak

    def take(self, frame: Frame) -> Plane:
        """Return Y three times, at full range, as [N, 3, H, W]."""
        return np.repeat(self._grey[super().take(frame)], 3, axis=1)

    def put(self, frame: Frame, before: Plane, after: Plane, keep: Blocks | None = None) -> Frame:
        """Add the mean change of the three channels to Y."""
        luma = super().take(frame)
        change = (after.mean(axis=1, keepdims=True, dtype=np.float32) - before[:, :1]) / self._scale
        filtered = np.clip(np.rint(luma + change), 0, self._peak).astype(luma.dtype)
        return super().put(frame, luma, filtered)


def build_rungs(
    clip: ClipInfo, engines: Sequence[Engine], *, guard: GuardMode = "pass"
) -> tuple[list[Rung], list[Work]]:
    """Return the ladder of these engines for this clip, and the filters that its rungs run.

    Args:
        clip: what is filtered.
        engines: from the best to the cheapest. Where all work on R'G'B', luma alone through the cheapest one makes a
            rung; then follow half of the frames, and none.
        guard: see `Work`.

    Raises:
        InputError: an engine cannot filter this clip.
    """
    works = [Work(engine, planes_for(clip, engine), guard) for engine in engines]
    labels = [engine.manifest.label for engine in engines]
    rungs = [
        Rung(name=f"{label} ({index + 1})" if labels.count(label) > 1 else label, work=index)
        for index, label in enumerate(labels)
    ]
    last = works[-1].planes
    if isinstance(last, RgbPlanes):
        rungs.append(Rung(name="luma", work=len(works)))
        works.append(Work(engines[-1], GreyPlanes(last.colour), guard))
    rungs.append(Rung(name="half", work=len(works) - 1, every=2))
    rungs.append(Rung(name="pass", work=None))
    return rungs, works
