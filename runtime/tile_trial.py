"""Whether windows of a frame give the samples of the whole frame, bit for bit, and what they cost: tried, not assumed.

Each sample is the sum of the same products in a window as in the frame, but a backend may add them in another order for
another shape, and a sum next to a half is then rounded the other way. At 8 bits that turns over so few samples, one in
50,000 with PyTorch, that a comparison may miss it. So the same network is compared at 16 bits, where rounding hides 257
times less, on noise over the full range: a real frame may be flat or clipped, and would agree whatever the order.

The canvases are filled as they are in use, with parts from all over the frame. Since those at different places give
what the frame has there, what the frame has at a place depends on the samples alone: where they move, their output
moves with them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate, product
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from postfilter.errors import PostfilterError
from postfilter.runtime.changes import CELL
from postfilter.runtime.jobs import Part, PieceJob, WholeJob, run_jobs
from postfilter.runtime.padding import padded_size
from postfilter.runtime.tile_canvas import laid_out

if TYPE_CHECKING:
    from postfilter.runtime.backend import Backend, Compiled, Samples, Shape
    from postfilter.runtime.jobs import Job, Patch
    from postfilter.runtime.tile_boxes import Box
    from postfilter.runtime.tile_canvas import Canvas

__all__ = ["Trial", "try_canvases"]

_SEED = 3

_LEAST = 6
_SHARE = 0.5
"""So many canvases are filtered at least, and so much of a frame."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of it."""

    canvases: tuple[Canvas, ...]
    """Those in which parts become right."""
    compiled: tuple[Compiled, ...]
    """For each."""
    costs: tuple[float, ...]
    """Of each, in the time of all planes of an item whole."""
    reason: str | None
    """Why there are no canvases."""


def try_canvases(
    canvases: Sequence[Canvas],
    *,
    shape: tuple[int, ...],
    multiple: int,
    backend: Backend,
    twin: Callable[[], Backend],
) -> Trial:
    """Filter noise whole and in each canvas, at the corners, along the edges and inside; compare and time.

    Args:
        canvases: from `tile_canvas.canvases_for`, the smallest first.
        shape: [N, C, H, W] of the items to come.
        multiple: H and W are padded to multiples of it.
        backend: what the items will be filtered by.
        twin: makes the same at 16 bits a sample; it is closed again.
    """
    frames, channels, height, width = shape
    noise = np.random.default_rng(_SEED).integers(0, 2**16, shape, dtype=np.uint16)
    wide, high = padded_size(width, height, multiple=multiple)
    windows: list[Shape] = [(1, channels, each.size[1], each.size[0]) for each in canvases]
    try:
        other = twin()
        with closing(other), ThreadPoolExecutor() as pool:

            def made(task: tuple[Backend, Shape]) -> Compiled:
                compiled = task[0].compile(task[1])
                compiled.prepare(stream=True)
                return compiled

            todo = [(other, (frames, channels, high, wide)), *((each, w) for each in (other, backend) for w in windows)]
            whole, *compiled = pool.map(made, todo)
            twins, own = compiled[: len(canvases)], compiled[len(canvases) :]
            return _tried(canvases, twins, own, noise, WholeJob(whole, noise, width=wide, height=high))
    except PostfilterError as error:
        return Trial(canvases=(), compiled=(), costs=(), reason=f"windows of a frame cannot be tried: {error}")


def _tried(
    canvases: Sequence[Canvas],
    twins: Sequence[Compiled],
    compiled: Sequence[Compiled],
    noise: Samples,
    whole: Job,
) -> Trial:
    expected, whole_seconds = min((_run(whole) for _ in range(2)), key=itemgetter(1))
    proven = []
    for canvas, twin, made in zip(canvases, twins, compiled, strict=True):
        share = canvas.size[0] * canvas.size[1] / (canvas.padded[0] * canvas.padded[1] * len(noise))
        fillings = _fillings(canvas, len(noise), count=max(_LEAST, math.ceil(_SHARE / share)))
        # The first run allocates.
        parts = [Part(compiled=twin, size=canvas.size, patches=each) for each in (*fillings[:1], *fillings)]
        # One by one: a short run is the likelier to meet a moment in which nothing else ran. What it is written into is
        # made before its time is taken.
        runs = [_run(PieceJob(noise, [each], expected.copy().view)) for each in parts]
        if runs and all(np.array_equal(got, expected) for got, _ in runs):
            proven.append((canvas, made, share, min(seconds for _, seconds in runs[1:])))
    if not proven:
        reason = "this backend does not give a window of a frame the samples of the whole frame"
        return Trial(canvases=(), compiled=(), costs=(), reason=reason)
    # Other work only ever slows a run down, so the fastest counts; and where a larger canvas, or the whole, seems to
    # take longer for each sample than a smaller one, all of its runs were slowed down.
    rates = list(accumulate((seconds / share for _, _, share, seconds in proven), min))
    whole_rate = min(whole_seconds, rates[-1])
    return Trial(
        canvases=tuple(canvas for canvas, *_ in proven),
        compiled=tuple(made for _, made, *_ in proven),
        costs=tuple(rate * share / whole_rate for rate, (_, _, share, _) in zip(rates, proven, strict=True)),
        reason=None,
    )


def _fillings(canvas: Canvas, frames: int, *, count: int) -> list[tuple[Patch, ...]]:
    """Return what lies in canvases: boxes up to twice its size, in the corners, along borders and inside."""
    random = np.random.default_rng(_SEED)
    found: list[tuple[Patch, ...]] = []
    while len(found) < count:
        boxes: list[tuple[int, Box]] = []
        for corner in product((0, 1, None, None), repeat=2):
            spans = []
            for where, frame, size in zip(corner, canvas.frame, canvas.size, strict=True):
                cells = -(-frame // CELL)
                length = int(random.integers(1, min(cells, 2 * size // CELL) + 1))
                first = int(random.integers(cells - length + 1)) if where is None else where * (cells - length)
                spans.append((first, first + length))
            boxes.append((int(random.integers(frames)), (spans[0], spans[1])))
        laid = laid_out(boxes, [canvas], [1.0], limit=math.inf)
        if laid is None:
            return []
        found += [patches for _, patches in laid[1]]
    return random.permutation(np.array(found, dtype=object))[:count].tolist()


def _run(job: Job) -> tuple[Samples, float]:
    """Return a job's output and the seconds it took: one inference at a time, whose share of the cores is its own."""
    begin = time.perf_counter()
    (output,) = run_jobs([job], requests=1)
    return output, time.perf_counter() - begin
