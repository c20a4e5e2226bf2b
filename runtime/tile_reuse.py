"""Tiles that did not change since the item before are not filtered again: their output is the one they had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from postfilter.runtime.changes import block_grid, changed_blocks, widened
from postfilter.runtime.jobs import PieceJob
from postfilter.runtime.stream_item import StreamItem, with_kept
from postfilter.runtime.tile_job import AfterTrial, ItemJob

if TYPE_CHECKING:
    from postfilter.runtime.backend import Samples
    from postfilter.runtime.changes import Blocks
    from postfilter.runtime.jobs import StreamJob
    from postfilter.runtime.windows import Windows

__all__ = ["TileReuse", "TileUse"]

_PATIENCE = 8
"""After so many items in a row that had to be filtered whole, every so-many-th alone is compared with the one before:
what comparing costs where everything always changes, as in camera footage, comes to nothing."""

_WORTH_TRYING = 3.0
"""Windows are tried once they are expected to have saved the time of so many whole items: a trial takes about ten."""


@dataclass(frozen=True, kw_only=True)
class TileUse:
    """What became of the tiles, in blocks of 16x16 samples of each plane."""

    total: int = 0
    reused: int = 0
    """Not filtered: their output is the one that they had in the item before."""
    kept: int = 0
    """Left as they came in, by `StreamItem.keep`; not counted as `reused`."""

    def __add__(self, other: TileUse) -> TileUse:
        return TileUse(**{key: value + getattr(other, key) for key, value in asdict(self).items()})


class TileReuse:
    """Give one to `Engine.stream` and what did not change is not filtered again; the outputs are the same to the bit.

    A block of 16x16 samples is filtered again where a sample changed in it or within the network's reach of it. Each
    item is filtered whole, in windows or not at all, whichever takes the least time. What that is, and that windows
    give the whole frame's samples on this backend, is tried once for each size, when there is first something to gain.

    It keeps a copy of the last input and holds the last output. For one stream at a time; the sums go on over several.

    Attributes:
        last: what became of the tiles of the output that came last.
        sum: the same, of all outputs.
        reason: why items are filtered whole or not at all, never in part; None where they can be.
    """

    def __init__(self) -> None:
        self.last = TileUse()
        self.sum = TileUse()
        self.reason: str | None = None
        self._state: _State | None = None

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
            self._state = _State(shape, windows(shape))
        state = self._state
        changed = state.look(samples)
        needed = np.ones_like(state.missing) if changed is None else state.missing | widened(changed, halo)
        if changed is None and item.keep is None:
            return self._follow(state, item, whole(samples), needed, needed)
        wanted = needed if item.keep is None else needed & ~item.keep

        def decided() -> StreamJob:
            chosen = state.windows.choose(wanted)
            self.reason = state.windows.reason
            state.saw(gain=chosen is not None or state.windows.expected_saving(wanted) > 0)
            if chosen is None:
                return self._follow(state, item, whole(samples), needed, np.ones_like(wanted))
            before = state.output
            job = PieceJob(samples, state.windows.parts(chosen), lambda: before.samples_or(item.planes))
            return self._follow(state, item, job, needed, chosen.covered)

        if not wanted.any():
            state.saw(gain=True)
            return self._follow(state, item, None, needed, wanted)
        if state.time_to_try(wanted):
            return AfterTrial(state.windows.try_out, decided)
        return decided()

    def _follow(
        self, state: _State, item: StreamItem, job: StreamJob | None, needed: Blocks, covered: Blocks
    ) -> StreamJob:
        """Return the job whose result is the item's output, and make that what the next item starts from."""
        before, after = state.output, _Output()
        state.missing = needed & ~covered
        state.output = after
        filtered = covered if item.keep is None else covered & ~item.keep
        kept = 0 if item.keep is None else int(np.count_nonzero(item.keep))
        reused = covered.size - kept - int(np.count_nonzero(filtered))
        use = TileUse(total=covered.size, reused=reused, kept=kept)

        def finish(filtered: Samples | None) -> Samples:
            after.samples = before.samples if filtered is None else filtered
            output = with_kept(after.samples_or(item.planes), item)
            if output is item.planes:
                output = output.copy()
            # Shared with what comes later: whoever wants to change it takes a copy.
            output.flags.writeable = False
            if after.samples is not None:
                after.samples.flags.writeable = False
            self.last, self.sum = use, self.sum + use
            return output

        return ItemJob(job, finish)


class _Output:
    """What an item was filtered to, once it is."""

    samples: Samples | None = None

    def samples_or(self, other: Samples) -> Samples:
        return other if self.samples is None else self.samples


class _State:
    """What is known of the last item of a stream, and of the items before."""

    def __init__(self, shape: tuple[int, ...], windows: Windows) -> None:
        self.shape = shape
        self.windows = windows
        self.output = _Output()
        self.missing: Blocks = np.ones(block_grid(shape), dtype=np.bool_)
        """Blocks whose output is not what the last input gives, since they were kept."""
        self._before: Samples | None = None
        """A copy of an input, the last one where `_compare` says so: its owner may write into it."""
        self._compare = False
        self._compared = False
        self._turn = 0
        self._misses = 0
        self._saved = 0.0

    def look(self, planes: Samples) -> Blocks | None:
        """Return the blocks that changed since the last item; None where that is not looked at."""
        self._turn += 1
        self._compared = self._compare
        changed = changed_blocks(self._before, planes) if self._compare and self._before is not None else None
        self._compare = self._misses < _PATIENCE or self._turn % _PATIENCE == 0
        if self._compare and (changed is None or changed.any()):
            if self._before is None:
                self._before = planes.copy()
            else:
                np.copyto(self._before, planes)
        return changed

    def saw(self, *, gain: bool) -> None:
        """Learn whether comparing the item gained anything."""
        if self._compared:
            self._misses = 0 if gain else self._misses + 1

    def time_to_try(self, wanted: Blocks) -> bool:
        """Whether so much could have been saved by now that windows should be tried."""
        saving = self.windows.expected_saving(wanted)
        self._saved += saving
        return saving > 0 and self._saved >= _WORTH_TRYING
