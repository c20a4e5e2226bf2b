"""Whether windows of a frame give the samples of the whole frame, bit for bit, and what they cost: tried, not assumed.

Each sample is the sum of the same products in a window as in the frame, but a backend may add them in another order for
another shape, and a sum next to a half is then rounded the other way. At 8 bits that turns over so few samples, one in
50,000 with PyTorch, that a comparison may miss it. So the same network is compared at 16 bits, where rounding hides 257
times less, on noise over the full range: a real frame may be flat or clipped, and would agree whatever the order.

Windows are taken from all over the frame, not only where tiles lie. Since those at different places give what the frame
has there, what the frame has at a place depends on the samples alone: where they move, their output moves with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from postfilter.errors import PostfilterError
from postfilter.runtime.changes import BLOCK
from postfilter.runtime.jobs import Part, PieceJob, WholeJob, run_jobs
from postfilter.runtime.padding import padded_size

if TYPE_CHECKING:
    from postfilter.runtime.backend import Backend, Compiled, Samples, Shape
    from postfilter.runtime.jobs import Job
    from postfilter.runtime.pieces import Cut
    from postfilter.runtime.tile_cover import Tiling

__all__ = ["Trial", "try_tilings"]

_SEED = 3

_GROUP = 8
"""Windows that are timed together, and of each kind: along each border, inside, and where tiles lie."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of it."""

    tilings: tuple[Tiling, ...]
    """Those whose windows are right."""
    compiled: tuple[Compiled, ...]
    """For the windows of each."""
    costs: tuple[float, ...]
    """Of a window of each, in the time of all planes of an item whole."""
    reason: str | None
    """Why there are no tilings."""


def try_tilings(
    tilings: Sequence[Tiling],
    *,
    shape: tuple[int, ...],
    multiple: int,
    backend: Backend,
    twin: Callable[[], Backend],
) -> Trial:
    """Filter noise whole and in windows of each tiling, at the corners, along the edges and inside; compare and time.

    Args:
        tilings: from `tile_cover.tilings_for`.
        shape: [N, C, H, W] of the items to come.
        multiple: H and W are padded to multiples of it.
        backend: what the items will be filtered by.
        twin: makes the same at 16 bits a sample; it is closed again.
    """
    frames, channels, height, width = shape
    noise = np.random.default_rng(_SEED).integers(0, 2**16, shape, dtype=np.uint16)
    wide, high = padded_size(width, height, multiple=multiple)
    windows: list[Shape] = [(1, channels, each.window[1], each.window[0]) for each in tilings]
    try:
        other = twin()
        with closing(other), ThreadPoolExecutor() as pool:

            def made(task: tuple[Backend, Shape]) -> Compiled:
                compiled = task[0].compile(task[1])
                compiled.prepare(stream=True)
                return compiled

            todo = [(other, (frames, channels, high, wide)), *((each, w) for each in (other, backend) for w in windows)]
            whole, *compiled = pool.map(made, todo)
            twins, own = compiled[: len(tilings)], compiled[len(tilings) :]
            return _tried(tilings, twins, own, noise, WholeJob(whole, noise, width=wide, height=high))
    except PostfilterError as error:
        return Trial(tilings=(), compiled=(), costs=(), reason=f"windows of a frame cannot be tried: {error}")


def _tried(
    tilings: Sequence[Tiling],
    twins: Sequence[Compiled],
    compiled: Sequence[Compiled],
    noise: Samples,
    whole: Job,
) -> Trial:
    expected, whole_seconds = _run(whole)
    proven = []
    for tiling, twin, made in zip(tilings, twins, compiled, strict=True):
        parts = [
            Part(compiled=twin, size=tiling.window, index=index, cut=cut) for index, cut in _places(tiling, len(noise))
        ]
        # The first run allocates. Of the others the fastest counts, since other work only ever slows one down.
        groups = [parts[:_GROUP], *(parts[start : start + _GROUP] for start in range(0, len(parts), _GROUP))]
        runs = [_run(PieceJob(noise, each, expected.copy)) for each in groups]
        if all(np.array_equal(got, expected) for got, _ in runs):
            fastest = min(seconds / len(each) for each, (_, seconds) in zip(groups[1:], runs[1:], strict=True))
            share = tiling.window[0] * tiling.window[1] / (tiling.padded[0] * tiling.padded[1] * len(noise))
            # Where a window seems to take less for each sample than the whole, it was the whole that was slowed down.
            proven.append((tiling, made, max(fastest / whole_seconds, share)))
    reason = None if proven else "this backend does not give a window of a frame the samples of the whole frame"
    found, ready, costs = zip(*proven, strict=True) if proven else ((), (), ())
    return Trial(tilings=found, compiled=ready, costs=costs, reason=reason)


def _places(tiling: Tiling, frames: int) -> list[tuple[int, Cut]]:
    """Return (plane, window): the corners, then others at random along the borders, inside, and where tiles lie."""
    random = np.random.default_rng(_SEED)
    across, down = (side - window for side, window in zip(tiling.padded, tiling.window, strict=True))
    places = [(x, y) for y in (0, down) for x in (0, across)]
    for _ in range(_GROUP // 2):
        x, y = (int(random.integers(0, end // tiling.grid + 1)) * tiling.grid for end in (across, down))
        places += [(0, y), (across, y), (x, 0), (x, down), (x, y)]
    cuts = [tiling.window_at(*each) for each in places]
    for _ in range(_GROUP // 2):
        row, column = (int(random.integers(0, -(-each // BLOCK))) for each in (tiling.height, tiling.width))
        cuts.append(tiling.cut(row, column))
    return [(int(random.integers(frames)), cut) for cut in cuts]


def _run(job: Job) -> tuple[Samples, float]:
    """Return a job's output and the seconds it took: one inference at a time, whose share of the cores is its own."""
    begin = time.perf_counter()
    (output,) = run_jobs([job], requests=1)
    return output, time.perf_counter() - begin
