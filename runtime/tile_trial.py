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
    begin = time.perf_counter()
    expected = _run([whole(noise) for _ in range(at_a_time)], requests)
    whole_seconds = (time.perf_counter() - begin) / at_a_time
    proven = []
    for tiling, made in compiled:
        parts = [
            Part(compiled=made, size=tiling.window, index=int(index), cut=tiling.cut(int(row), int(column)))
            for index, row, column in _places(tiling, shape, random, share=1 / len(compiled))
        ]
        _run([PieceJob(noise, parts[: 2 * requests], lambda: expected)], requests)  # first runs allocate
        begin = time.perf_counter()
        got = _run([PieceJob(noise, parts, lambda: expected)], requests)
        seconds = (time.perf_counter() - begin) / len(parts)
        if np.array_equal(got, expected):
            proven.append((tiling, made, seconds / whole_seconds))
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


def _run(jobs: Sequence[Job], requests: int) -> Samples:
    """Filter them and return the last output."""
    (last,) = deque(run_jobs(jobs, requests=requests), maxlen=1)
    return last
