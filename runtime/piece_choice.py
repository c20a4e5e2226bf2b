"""Which piece is fastest on this machine: candidates and the whole frame, timed in turn."""

from __future__ import annotations

import itertools
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from postfilter.errors import ArtefactError, InputError
from postfilter.runtime.engine import Engine
from postfilter.runtime.loading import load_engine
from postfilter.runtime.manifest import MANIFEST, read_manifest
from postfilter.runtime.measure import sample_frames
from postfilter.runtime.padding import padded_size
from postfilter.runtime.piece_rule import RESHAPING, activation_bytes, estimate_mb, geometry, streams_of
from postfilter.runtime.pieces import candidate_pieces, computed_share, piece_within

__all__ = ["PieceChoice", "PieceRow", "fastest_piece", "spread_pieces"]

_GAIN = 1.02
"""A piece must be so many times faster than the whole frame: less is lost in what other work does to a measurement."""

_LARGEST_SHARE = 1.3
"""Candidates that filter more samples than this for each of the frame are not worth timing."""


@dataclass(frozen=True, kw_only=True)
class PieceRow:
    """One way to filter a frame, as measured."""

    piece: tuple[int, int] | None
    """(width, height); None for the whole frame."""
    computed_share: float
    """Samples filtered for each sample of the frame."""
    ms: float
    """The least time of a frame over the rounds, in a stream."""
    median_ms: float
    speedup: float
    """The whole frame's time divided by this one's in the same round; the median of the rounds."""
    steady_speedup: float
    """The same, reached in three rounds of four: below `speedup` by what other work did to the measurement."""
    estimated_mb: float
    """Memory of a stream above the idle process in MiB, as expected where a `memory_limit_mb` is set."""


@dataclass(frozen=True, kw_only=True)
class PieceChoice:
    """What is fastest, and all that was tried, the whole frame first."""

    piece: tuple[int, int] | None
    """For `EngineManifest.piece`; None where none beats the whole frame by 2 %, and in three rounds of four at all."""
    width: int
    height: int
    rows: tuple[PieceRow, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as what `json` writes."""
        return asdict(self)


def fastest_piece(
    path: str | os.PathLike[str],
    width: int,
    height: int,
    candidates: Sequence[tuple[int, int]] | None = None,
    *,
    rounds: int = 5,
    frames: int = 4,
    device: str | None = None,
    threads: int | None = None,
    requests: int | None = None,
    on_step: Callable[[str], None] | None = None,
) -> PieceChoice:
    """Time streams of frames whole and in each candidate, in turn, so that a change of the machine's speed hits all.

    Args:
        path: the engine folder.
        width: of the frames, as `height`.
        height: see `width`.
        candidates: (width, height) of the pieces to try; `spread_pieces` where None. Those as large as the frame,
            rounded up to the size multiple, are left out, as are all where the backend takes one size alone.
        rounds: how often each is timed; compared is what ran in the same round.
        frames: in each stream that is timed, at least 1; rounded up to a multiple of the inferences that run side by
            side, since whole frames would otherwise end with some of these idle.
        device: see `load_engine`, as `threads` and `requests`.
        threads: see `load_engine`.
        requests: see `load_engine`.
        on_step: told in a few words what begins.

    Raises:
        PostfilterError: whatever `load_engine` finds wrong.
        InputError: a candidate smaller than the network's reach, or no rounds or frames.
    """
    if rounds < 1 or frames < 1:
        raise InputError(f"got {rounds} rounds of {frames} frames; give at least one of each")
    folder = Path(path).parent if Path(path).name == MANIFEST else Path(path)
    manifest = read_manifest(folder)
    multiple, period = manifest.size_multiple, manifest.period
    if manifest.size is not None and manifest.backend not in RESHAPING:
        candidates = ()
    elif candidates is None:
        candidates = spread_pieces(width, height, **geometry(manifest))
    sizes = (piece_within(width, height, piece=each, multiple=multiple, period=period) for each in candidates)
    whole = padded_size(width, height, multiple=multiple)
    pieces = [None, *dict.fromkeys(each for each in sizes if each != whole)]
    options: dict[str, Any] = {"device": device, "threads": threads, "requests": requests}
    times: list[list[float]] = [[] for _ in pieces]
    with ExitStack() as stack:
        engines = [stack.enter_context(load_engine(folder, piece=each or "whole", **options)) for each in pieces]
        dtype, streams = engines[0].dtype, streams_of(manifest.backend, engines[0].requests)
        frames = -(-frames // streams) * streams
        pictures = sample_frames(engines[0], width=width, height=height, count=2)
        for engine, piece in zip(engines, pieces, strict=True):
            if on_step:
                on_step("compiling for whole frames" if piece is None else f"compiling for {piece[0]}x{piece[1]}")
            _stream_ms(engine, pictures, engine.requests)
        for index in range(rounds):
            if on_step:
                on_step(f"timing {len(pieces)} candidates, round {index + 1} of {rounds}")
            for engine, taken in zip(engines, times, strict=True):
                taken.append(_stream_ms(engine, pictures, frames))
    try:
        per_px = activation_bytes(folder, manifest)
    except ArtefactError:
        per_px = float("nan")
    rows = [
        PieceRow(
            piece=piece,
            computed_share=1.0 if piece is None else computed_share(width, height, piece=piece, **geometry(manifest)),
            ms=min(taken),
            median_ms=statistics.median(taken),
            speedup=statistics.median(_ratios(times[0], taken)),
            steady_speedup=float(np.percentile(_ratios(times[0], taken), 25)),
            estimated_mb=estimate_mb(
                manifest,
                width=width,
                height=height,
                piece=piece,
                activation_bytes_per_px=per_px,
                sample_bytes=dtype.itemsize,
                streams=streams,
                requests=engines[0].requests,
            ),
        )
        for piece, taken in zip(pieces, times, strict=True)
    ]
    steady = [row for row in rows if row.piece and row.speedup >= _GAIN and row.steady_speedup >= 1]
    best = max(steady, key=lambda row: row.speedup, default=rows[0])
    return PieceChoice(piece=best.piece, width=width, height=height, rows=tuple(rows))


def spread_pieces(
    width: int, height: int, *, halo: int, multiple: int, period: int = 1, count: int = 8
) -> list[tuple[int, int]]:
    """Return about `count` pieces of sizes spread evenly in ratio, each the one with the least overlap of its size.

    From half the frame down to what filters 1.3 samples for each of the frame.
    """
    frame = width * height
    by_size: dict[int, tuple[int, int]] = {}
    # In the order of their overlap, so that the first of each size is the best of it.
    for piece in candidate_pieces(width, height, halo=halo, multiple=multiple, period=period)[1:]:
        if computed_share(width, height, piece=piece, halo=halo, multiple=multiple, period=period) > _LARGEST_SHARE:
            break
        # Two sizes for each halving.
        by_size.setdefault(round(2 * math.log2(frame / (piece[0] * piece[1]))), piece)
    return [by_size[each] for each in sorted(by_size)][:count]


def _ratios(whole: list[float], taken: list[float]) -> list[float]:
    return [one / other for one, other in zip(whole, taken, strict=True)]


def _stream_ms(engine: Engine, pictures: list[Any], frames: int) -> float:
    """Milliseconds a frame of a stream of `frames`."""
    begin = time.perf_counter()
    for _ in engine.stream(itertools.islice(itertools.cycle(pictures), frames)):
        pass
    return (time.perf_counter() - begin) / frames * 1000
