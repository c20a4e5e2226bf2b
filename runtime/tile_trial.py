"""Whether windows of a frame give the samples of the whole frame, bit for bit, and what they cost: tried, not assumed.

Each sample is the sum of the same products in a window as in the frame, but a backend may add them in another order for
another shape, and a sum next to a half is then rounded the other way. Where that is so, some in a million samples
differ, so as many samples are compared as a frame has. They are noise: a real frame may be flat or clipped, and would
then agree whatever the order.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from postfilter.errors import PostfilterError
from postfilter.runtime.changes import BLOCK
from postfilter.runtime.jobs import Part, PieceJob, run_jobs

if TYPE_CHECKING:
    from postfilter.runtime.backend import Compiled, Samples
    from postfilter.runtime.jobs import Job
    from postfilter.runtime.tile_cover import Tiling

__all__ = ["Trial", "try_tilings"]

_SEED = 3

_GROUP = 12
"""Windows that are timed at once."""

_LEAST = 0.9
"""The least share of its samples' time that a window is believed to take: caches may favour it a little."""


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
    bit_depth: int,
    dtype: np.dtype[np.generic],
    whole: Callable[[Samples], Job],
    compile_window: Callable[[int, int], Compiled],
    requests: int,
) -> Trial:
    """Filter noise whole and in windows of each tiling, at the corners, along the edges and inside; compare and time.

    Args:
        tilings: from `tile_cover.tilings_for`.
        shape: [N, C, H, W] of the items to come.
        bit_depth: bits a sample.
        dtype: of the samples.
        whole: how planes are filtered otherwise.
        compile_window: makes the graph ready for windows of (width, height).
        requests: inferences in flight, for both.
    """
    random = np.random.default_rng(_SEED)
    # Away from black and white, where clipping hides what is below.
    noise = random.integers(2**bit_depth // 4, 2**bit_depth * 3 // 4, shape, dtype=dtype)
    try:
        compiled = [(each, compile_window(*each.window)) for each in tilings]
    except PostfilterError as error:
        return Trial(tilings=(), compiled=(), costs=(), reason=f"windows of a frame cannot be filtered: {error}")
    for _, made in compiled:
        made.prepare(stream=True)
    at_a_time = max(1, requests - 1)
    expected, seconds = _run([whole(noise) for _ in range(at_a_time)], requests)
    whole_seconds = seconds / at_a_time
    proven = []
    for tiling, made in compiled:
        parts = [
            Part(compiled=made, size=tiling.window, index=int(index), cut=tiling.cut(int(row), int(column)))
            for index, row, column in _places(tiling, shape, random, share=1 / len(compiled))
        ]
        # The first run allocates. Of the others the fastest counts, since other work only ever slows one down.
        groups = [parts[:_GROUP], *(parts[start : start + _GROUP] for start in range(0, len(parts), _GROUP))]
        runs = [_run([PieceJob(noise, each, lambda: expected)], requests) for each in groups]
        if all(np.array_equal(got, expected) for got, _ in runs):
            fastest = min(seconds / len(each) for each, (_, seconds) in zip(groups[1:], runs[1:], strict=True))
            share = tiling.window[0] * tiling.window[1] / (tiling.padded[0] * tiling.padded[1] * shape[0])
            # No window takes less time for each sample than the whole, so then the whole one was slowed down.
            proven.append((tiling, made, max(fastest / whole_seconds, _LEAST * share)))
    reason = None if proven else "this backend does not give a window of a frame the samples of the whole frame"
    found, ready, costs = zip(*proven, strict=True) if proven else ((), (), ())
    return Trial(tilings=found, compiled=ready, costs=costs, reason=reason)


def _places(
    tiling: Tiling, shape: tuple[int, ...], random: np.random.Generator, *, share: float
) -> list[tuple[int, int, int]]:
    """Return (plane, row, column) of tiles: the corners, then others at random, for about a share of the samples."""
    frames, _, height, width = shape
    side = tiling.blocks * BLOCK
    rows, columns = -(-height // side), -(-width // side)
    corners = [(0, y, x) for y in (0, rows - 1) for x in (0, columns - 1)]
    order = random.permutation(frames * rows * columns)
    count = max(12, round(len(order) * share * width * height / (rows * columns * tiling.window[0] * tiling.window[1])))
    others = [tuple(int(i) for i in np.unravel_index(k, (frames, rows, columns))) for k in order[:count]]
    return [*dict.fromkeys([*corners, *others])]  # type: ignore[list-item]


def _run(jobs: Sequence[Job], requests: int) -> tuple[Samples, float]:
    """Filter them and return the last output, and the seconds it took."""
    begin = time.perf_counter()
    (last,) = deque(run_jobs(jobs, requests=requests), maxlen=1)
    return last, time.perf_counter() - begin
