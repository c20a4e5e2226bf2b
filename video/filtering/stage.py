"""What happens to a frame between decoder and encoder: samples out, engine, guard, samples back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from postfilter.errors import PostfilterError
from postfilter.runtime.changes import changed_cells
from postfilter.runtime.neighbours import in_threes, neighbours_of, reads_neighbours
from postfilter.runtime.stream_item import StreamItem, with_kept
from postfilter.runtime.tile_reuse import TileReuse, TileUse
from postfilter.video.filtering.guard import Guard
from postfilter.video.record import FrameRecord

if TYPE_CHECKING:
    from postfilter.runtime import Engine
    from postfilter.video.filtering.planes import FramePlanes
    from postfilter.video.filtering.qp_skip import QpSteering
    from postfilter.video.frame import Frame
    from postfilter.video.pixels import Plane

__all__ = ["Filtered", "FrameFilter", "mean_change"]

_STEP = 8
"""Every eighth sample of every eighth row is enough to tell how much a frame changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """A frame that came out of the filter."""

    frame: Frame
    decoded: Frame | None
    """As it went in, with memory of its own; None unless it was asked to be kept."""
    record: FrameRecord


class FrameFilter:
    """Filters frames in order, several of them in flight.

    Args:
        engine: what filters them, loaded for their bit depth.
        planes: how they are given to it.
        steering: what of them is left alone, and what the engine is told of them; None filters all, and tells nothing.
        keep_decoded: whether the frames as they went in are wanted as well; costs a copy of each.
        guard: checks the frames; where None one that passes through what the engine did not filter.
        reuse: whether what did not change since the frame before keeps its output; the result is the same to the bit.
    """

    def __init__(
        self,
        engine: Engine,
        planes: FramePlanes,
        *,
        steering: QpSteering | None = None,
        keep_decoded: bool = False,
        guard: Guard | None = None,
        reuse: bool = True,
    ) -> None:
        self.tiles = TileReuse() if reuse else None
        """What was reused; None where nothing is."""
        self.steering = steering
        self.guard = guard or Guard(engine)
        self.first_index = 0
        """Number of the first frame that is given, in the order of the clip."""
        self.waiting_seconds = 0.0
        """Spent in pulling frames from the iterable, which is not filtering."""
        self._engine, self._planes, self._keep_decoded = engine, planes, keep_decoded
        self._before: Plane | None = None
        self._failure_before: Exception | None = None

    def stream(self, frames: Iterable[Frame]) -> Iterator[Filtered]:
        """Yield every frame filtered, in order.

        The memory of a frame that was given is used again for the filtered one where nobody else reads it.

        Raises:
            PostfilterError: the engine fails; what the iterable raises comes through as it is.
        """
        under_way: deque[tuple[Frame, StreamItem]] = deque()

        def inputs() -> Iterator[StreamItem]:
            for frame, samples, around in self._surrounded(self._pulled(frames)):
                item = StreamItem(planes=samples, inputs=around)
                if self.steering is not None:
                    item = self.steering.steered(item, frame)
                under_way.append((frame, item))
                yield item

        outputs = self._run(inputs(), self.tiles)
        index, change = self.first_index, 0.0
        while True:
            started, waited = time.perf_counter(), self.waiting_seconds
            after = next(outputs, None)
            if after is None:
                return
            frame, item = under_way.popleft()
            before, keep, use = item.planes, item.keep, self._use_of(item)
            decoded = frame.copy() if self._keep_decoded else None
            counted = self.guard.report.counts()
            altered = None if self.tiles is None else self.tiles.altered
            after, objection = self.guard.check(
                before,
                after,
                frame=index,
                pts_seconds=frame.pts_seconds,
                inputs=item.inputs,
                altered=altered,
            )
            if objection is not None:
                after = with_kept(after, item)  # a tile that was filtered again may hold kept blocks
            if altered is None or altered.any():
                change = mean_change(before, after)
            # From here on `before` may be gone: it can be the frame's own memory, which is written to.
            filtered = self._planes.put(frame, before, after, keep)
            seconds = time.perf_counter() - started - (self.waiting_seconds - waited)
            record = FrameRecord(
                index=index,
                pts_seconds=frame.pts_seconds,
                filter_ms=1000 * seconds,
                change=change,
                qp=None if frame.qp is None else float(frame.qp.mean()),
                tiles=use.total,
                tiles_reused=use.reused,
                tiles_moved=use.moved,
                tiles_skipped=use.kept,
                guard=objection,
                guard_counts={name: n - counted[name] for name, n in self.guard.report.counts().items()},
            )
            yield Filtered(frame=filtered, decoded=decoded, record=record)
            index += 1

    def shown(self, frame: Frame) -> None:
        """Take note of a frame that is not filtered, because an earlier run did: the next one has it as a neighbour."""
        if reads_neighbours(self._engine):
            self._before = self._planes.take(frame).copy()

    def rehearse(self, frames: Iterable[Frame]) -> None:
        """Filter some of the frames to come and forget them, where they repeat each other.

        The engine then finds out now how to filter frames in part, and not during the run.
        """
        if self.tiles is None or not all(each.optional for each in self._engine.inputs):
            return
        samples = [self._planes.take(each) for each in frames]
        if not any(_alike(before, after) for before, after in pairwise(samples)):
            return
        for _ in self._run((StreamItem(planes=each) for each in samples), TileReuse()):
            pass

    def _surrounded(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Plane, dict[str, Plane]]]:
        """Each frame with its samples and, where the engine reads them, its neighbours'."""
        taken = ((frame, self._planes.take(frame)) for frame in frames)
        if not reads_neighbours(self._engine):
            yield from ((frame, samples, {}) for frame, samples in taken)
            return
        for frame, samples, before, after in in_threes(taken):
            # What was shown of an earlier run is known when the first frame has come.
            yield frame, samples, neighbours_of(samples, self._before if before is None else before, after)

    def _use_of(self, item: StreamItem) -> TileUse:
        """What became of the tiles of the item that came last."""
        if self.tiles is not None:
            return self.tiles.last
        kept = item.kept_cells()
        return TileUse() if kept is None else TileUse(total=kept.size, kept=int(np.count_nonzero(kept)))

    def _pulled(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        source = iter(frames)
        while True:
            before = time.perf_counter()
            try:
                frame = next(source, None)
            except Exception as error:
                self._failure_before = error
                raise
            self.waiting_seconds += time.perf_counter() - before
            if frame is None:
                return
            yield frame

    def _run(self, samples: Iterable[StreamItem], reuse: TileReuse | None) -> Iterator[Plane]:
        done = 0
        try:
            for output in self._engine.stream(samples, reuse=reuse):
                yield output
                done += 1
        except Exception as error:
            # What the decoder raised, or a refusal, says itself what is wrong; a backend's words do not.
            if isinstance(error, PostfilterError) or error is self._failure_before:
                raise
            raise PostfilterError(
                f"the engine failed near frame {done} ({error}); try another precision or --backend, and report it if "
                "that helps"
            ) from error


def mean_change(before: Plane, after: Plane) -> float:
    """Return the mean absolute difference of planes [..., H, W], on a sample, in code values."""
    old, new = (each[..., ::_STEP, ::_STEP].astype(np.float32) for each in (before, after))
    return float(np.abs(new - old).mean())


def _alike(before: Plane, after: Plane) -> bool:
    """Whether some part of a frame is that of the frame before."""
    return before.shape == after.shape and not changed_cells(before, after).all()
