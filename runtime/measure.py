"""How fast an engine is: time of single frames, and frames a second of a stream."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from postfilter.runtime.neighbours import neighbours_of, reads_neighbours
from postfilter.runtime.stream_item import StreamItem

if TYPE_CHECKING:
    from postfilter.runtime.backend import Samples
    from postfilter.runtime.engine import Engine

__all__ = ["Speed", "best_seconds", "measure_speed", "percentiles", "sample_frames"]

Progress = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What was measured of an engine at one size."""

    latency_ms: dict[str, float]
    """`p50`, `p95`, `p99` of single frames, one after the other, in milliseconds."""
    fastest_ms: float
    """The fastest single frame."""
    fps: float
    """Frames a second through `Engine.stream`, with the search for motion where the engine reads neighbours."""
    frames: int
    """Single frames timed."""
    stream_frames: int
    """Frames streamed."""


def measure_speed(
    engine: Engine,
    *,
    width: int,
    height: int,
    seconds: float = 5.0,
    frames: int | None = None,
    around_stream: AbstractContextManager[object] | None = None,
    on_progress: Progress | None = None,
) -> Speed:
    """Time an engine on made-up frames: half the time single ones, half the time a stream.

    Compiling and the first frames, which allocate, are not timed.

    Args:
        engine: what to measure.
        width: of the frames, as `height`.
        height: see `width`.
        seconds: how long to measure, warm-up apart; at least three frames of each kind are run in any case.
        frames: of each kind, instead of `seconds`.
        around_stream: entered when the timed part of the stream begins and left at its end: a `PowerMeter`.
        on_progress: called as `on_progress(done, total, **figures)`.
    """
    pictures = sample_frames(engine, width=width, height=height)
    engine.prepare(width=width, height=height)
    tell = on_progress or (lambda done, total, **figures: None)
    total = 2.0 * frames if frames else seconds

    started = time.perf_counter()
    engine(pictures[0])
    engine(pictures[1])
    times: list[float] = []
    begin = time.perf_counter()
    while _goes_on(len(times), begin, frames=frames, seconds=seconds / 2):
        start = time.perf_counter()
        engine(pictures[len(times) % len(pictures)])
        times.append((time.perf_counter() - start) * 1000)
        tell(len(times) if frames else time.perf_counter() - begin, total, ms=times[-1])

    engine.prepare(width=width, height=height, stream=True)
    warm_up = engine.requests
    streamed, begin = 0, started

    def source() -> Iterator[StreamItem]:
        for index in itertools.count():
            # In seconds, time decides, on what has come out; a number of frames is counted as they go in.
            done = streamed if frames is None else index - warm_up
            if index >= warm_up and not _goes_on(done, begin, frames=frames, seconds=seconds / 2):
                return
            yield _item(engine, pictures, index)

    with ExitStack() as stack:
        for index, _ in enumerate(engine.stream(source())):
            if index < warm_up:
                if index == warm_up - 1 and around_stream is not None:
                    stack.enter_context(around_stream)
                begin = time.perf_counter()
                continue
            streamed += 1
            elapsed = time.perf_counter() - begin
            tell(frames + streamed if frames else seconds / 2 + elapsed, total, fps=streamed / elapsed)
        elapsed = time.perf_counter() - begin
    return Speed(
        latency_ms=percentiles(times),
        fastest_ms=min(times),
        fps=streamed / elapsed,
        frames=len(times),
        stream_frames=streamed,
    )


def percentiles(milliseconds: list[float]) -> dict[str, float]:
    """Return the 50th, 95th and 99th percentile, linearly interpolated."""
    return {f"p{rank}": float(np.percentile(milliseconds, rank)) for rank in (50, 95, 99)}


def sample_frames(engine: Engine, *, width: int, height: int, count: int = 4) -> list[Samples]:
    """Return `count` different frames of noise over a ramp, each [1, C, height, width] of the engine's type.

    A convolution's time does not depend on its input; denormal numbers and all-zero frames, which might, are avoided.
    """
    random = np.random.default_rng(0)
    largest = 2**engine.bit_depth - 1
    ramp = np.linspace(largest / 4, largest * 3 / 4, width)
    shape = (1, engine.channels, height, width)
    return [
        np.clip(ramp + random.normal(scale=largest / 16, size=shape), 0, largest).astype(engine.dtype)
        for _ in range(count)
    ]


def best_seconds(work: Callable[[], object], seconds: float) -> float:
    """Return the shortest time of `work`, run again and again for `seconds`; the first run does not count."""
    work()
    best, begin, runs = float("inf"), time.perf_counter(), 0
    while runs < 1 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        work()
        best, runs = min(best, time.perf_counter() - start), runs + 1
    return best


def _item(engine: Engine, pictures: list[Samples], index: int) -> StreamItem:
    before, planes, after = (pictures[(index + step) % len(pictures)] for step in (-1, 0, 1))
    return StreamItem(planes=planes, inputs=neighbours_of(planes, before, after) if reads_neighbours(engine) else None)


def _goes_on(done: int, begin: float, *, frames: int | None, seconds: float) -> bool:
    if frames is not None:
        return done < frames
    return done < 3 or time.perf_counter() - begin < seconds
