"""What a call of an engine costs outside its backend: checking, padding, cutting into pieces, buffers, cropping."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postfilter.runtime.measure import sample_frames

if TYPE_CHECKING:
    from postfilter.runtime.backend import Samples
    from postfilter.runtime.engine import Engine

__all__ = ["Overhead", "measure_overhead"]


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """Medians over the calls that were timed."""

    call_ms: float
    """Of a call."""
    overhead_ms: float
    """Of it spent outside `Compiled.infer`, which hands samples to the backend and takes them back."""
    share: float
    """`overhead_ms` / `call_ms`."""


def measure_overhead(
    engine: Engine, *, width: int, height: int, seconds: float = 1.0, frames: int | None = None
) -> Overhead:
    """Time single calls of an engine, and inside each of them the backend.

    Both clocks run in the same call, so that what else the machine does falls on both.

    Args:
        engine: what to measure; no other thread may use it meanwhile.
        width: of the frames, as `height`.
        height: see `width`.
        seconds: how long to measure, after two calls of warm-up; three calls are timed in any case.
        frames: how many calls, instead of `seconds`.
    """
    pictures = sample_frames(engine, width=width, height=height)
    for picture in pictures[:2]:
        engine(picture)
    compiled = engine._compiled_for(1, width, height)
    bare, inside = compiled.infer, 0.0

    def infer(samples: Samples) -> Samples:
        nonlocal inside
        start = time.perf_counter()
        try:
            return bare(samples)
        finally:
            inside += time.perf_counter() - start

    calls: list[float] = []
    overheads: list[float] = []
    compiled.infer = infer  # type: ignore[method-assign]
    try:
        begin = time.perf_counter()
        while len(calls) < (frames or 3) or (frames is None and time.perf_counter() - begin < seconds):
            inside = 0.0
            start = time.perf_counter()
            engine(pictures[len(calls) % len(pictures)])
            calls.append(time.perf_counter() - start)
            overheads.append(calls[-1] - inside)
    finally:
        del compiled.infer  # the class's own again
    call, overhead = statistics.median(calls), statistics.median(overheads)
    return Overhead(call_ms=call * 1e3, overhead_ms=overhead * 1e3, share=overhead / call)
