"""Tiles that did not change since the item before are not filtered again: their output is the one they had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from postfilter.runtime.jobs import PieceJob
from postfilter.runtime.stream_item import StreamItem, with_kept
from postfilter.runtime.tile_history import History, Output, Seen
from postfilter.runtime.tile_job import AfterTrial, ItemJob
from postfilter.runtime.tile_moves import put_moved

if TYPE_CHECKING:
    from postfilter.runtime.backend import Samples
    from postfilter.runtime.changes import Cells
    from postfilter.runtime.jobs import StreamJob
    from postfilter.runtime.windows import Windows

__all__ = ["TileReuse", "TileUse"]


@dataclass(frozen=True, kw_only=True)
class TileUse:
    """What became of the tiles, in cells of 8x8 samples of each plane."""

    total: int = 0
    reused: int = 0
    """Not filtered: their output is one of the item before."""
    moved: int = 0
    """Those of `reused` whose output is from another place, since the content moved."""
    kept: int = 0
    """Left as they came in, by `StreamItem.keep`; not counted as `reused`."""

    def __add__(self, other: TileUse) -> TileUse:
        return TileUse(
            total=self.total + other.total,
            reused=self.reused + other.reused,
            moved=self.moved + other.moved,
            kept=self.kept + other.kept,
        )


class TileReuse:
    """Give one to `Engine.stream` and what did not change is not filtered again; the outputs are the same to the bit.

    A cell of 8x8 samples is filtered again where a sample changed in it or within the network's reach of it, unless
    all of that is a part of the item before which moved, as a page that scrolls does, by a distance that moves the
    network's output bit for bit. Each item is filtered whole, in windows or not at all, whichever takes the least time.
    What that is, and that windows and moves give the whole frame's samples on this backend, is tried once for each
    size, when there is first something to gain.

    It keeps a copy of the last input and holds the last output. For one stream at a time; the sums go on over several.

    Attributes:
        last: what became of the tiles of the output that came last.
        sum: the same, of all outputs.
        altered: outside of these cells, the item whose output came last, and that output, are those before; None where
            that is not known.
        reason: why items are filtered whole or not at all, never in part; None where they can be.
    """

    def __init__(self) -> None:
        self.last = TileUse()
        self.sum = TileUse()
        self.altered: Cells | None = None
        self.reason: str | None = None
        self._state: History | None = None

    def restart(self) -> None:
        """Forget the last item: the next is filtered whole."""
        self._state = None

    def job(
        self,
        item: StreamItem,
        samples: Samples,
        *,
        halo: int,
        whole: Callable[[Samples], StreamJob],
        windows: Callable[[tuple[int, ...]], Windows],
    ) -> StreamJob:
        """Return the job that filters an item. Its outputs must come in the order of these calls.

        Args:
            item: what is to be filtered.
            samples: its planes and further inputs as the graph takes them, [N, C or more, H, W].
            halo: receptive-field radius in samples.
            whole: makes the job that filters planes whole.
            windows: tells how planes of a shape are filtered in part.
        """
        shape = samples.shape
        if self._state is None or self._state.shape != shape:
            self._state = History(shape, windows(shape), halo=halo)
        state = self._state
        seen = state.look(samples)
        everything = np.ones_like(seen.needed)
        if not seen.compared and item.keep is None:
            return self._follow(state, item, seen, whole(samples), everything)
        kept = item.kept_cells()
        wanted = seen.needed if kept is None else seen.needed & ~kept

        def decided() -> StreamJob:
            chosen = state.windows.choose(wanted)
            self.reason = state.windows.reason
            state.saw(seen, gain=chosen is not None or state.windows.expected_saving(wanted) > 0)
            if chosen is None:
                return self._follow(state, item, seen, whole(samples), everything)
            base = _base(state.output, item, seen)
            job = PieceJob(samples, state.windows.parts(chosen), base) if chosen.windows else None
            return self._follow(state, item, seen, job, chosen.covered)

        # Until it was tried, nobody knows that outputs may be moved.
        if not wanted.any() and seen.moved is None:
            state.saw(seen, gain=True)
            return self._follow(state, item, seen, None, wanted)
        if state.time_to_try(wanted):
            return AfterTrial(state.windows.try_out, decided)
        return decided()

    def _follow(self, state: History, item: StreamItem, seen: Seen, job: StreamJob | None, covered: Cells) -> StreamJob:
        """Return the job whose result is the item's output, and make that what the next item starts from."""
        before, after = state.output, Output()
        base = _base(before, item, seen)
        state.missing = seen.needed & ~covered
        state.output = after
        kept = item.kept_cells()
        left = ~covered if kept is None else ~(covered | kept)
        # What is filtered besides comes out as it was.
        altered = seen.altered if seen.compared and kept is None and not state.kept else None
        state.kept = kept is not None
        use = TileUse(
            total=covered.size,
            reused=int(np.count_nonzero(left)),
            moved=0 if seen.moved is None else int(np.count_nonzero(left & seen.moved[0])),
            kept=0 if kept is None else int(np.count_nonzero(kept)),
        )

        def finish(filtered: Samples | None) -> Samples:
            if filtered is not None:
                after.samples = filtered
            elif seen.moved is not None:
                after.samples = base()
            else:
                after.samples = before.samples
            output = with_kept(after.samples_or(item.planes), item)
            if output is item.planes:
                output = output.copy()
            # Shared with what comes later: whoever wants to change it takes a copy.
            output.flags.writeable = False
            if after.samples is not None:
                after.samples.flags.writeable = False
            self.last, self.sum, self.altered = use, self.sum + use, altered
            return output

        return ItemJob(job, finish)


def _base(before: Output, item: StreamItem, seen: Seen) -> Callable[[], Samples]:
    """Return what makes a new array, the output where nothing is filtered; to be called once that before is there."""

    def base() -> Samples:
        known = before.samples_or(item.planes)
        output = known.copy()
        if seen.moved is not None:
            put_moved(output, known, *seen.moved)
        return output

    return base
