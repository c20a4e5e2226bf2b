"""What came of filtering a clip, and what a stream in real time has in common with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.runtime.tile_reuse import TileUse
from postfilter.video.limits import Limits, limits_of

if TYPE_CHECKING:
    from postfilter.runtime import EngineManifest
    from postfilter.runtime.memory import PeakMemory
    from postfilter.video.filtering.guard import GuardReport
    from postfilter.video.filtering.qp_skip import QpUse
    from postfilter.video.pipeline import Pipeline
    from postfilter.video.reading.damage import Damage
    from postfilter.video.reference import VideoQuality

__all__ = ["RunResult", "VideoResult", "result_of"]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What is told of every run, over a clip or over a stream."""

    input: str | Path
    output: str | Path | None
    """None where nothing was written."""
    frames_in: int
    """Decoded."""
    frames_out: int
    width: int
    height: int
    seconds: float
    fps: float
    speed_x: float
    """Times as fast as the clip plays."""
    stages_ms: dict[str, float]
    """decode, filter, encode: what each thread worked for a frame, on average, without its waiting. They overlap."""
    latency_ms: dict[str, float]
    tflops: float | None
    """Achieved, counting a multiply-accumulate as two; None where the engine does not tell its cost."""
    peak_memory_mb: float
    """Resident memory of the whole process at its peak."""
    tiles: TileUse
    """Blocks of 16x16 samples, of which some took their output from the frame before, or were left as they came."""
    guard: GuardReport
    """Frames that came out black, flat, shifted or otherwise not filtered, and what was done about them."""
    damage: Damage
    """What is wrong with the input, counted."""
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {name: str(each) if isinstance(each, Path) else each for name, each in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class VideoResult(RunResult):
    """What came of filtering one clip.

    Where an earlier run made some of the frames (`frames_resumed`), `tiles`, `quality` and the guard's counts are of
    all frames; `qp`, the guard's events and all figures of time and memory are of the others alone.
    """

    input: Path
    output: Path | None
    engine: str
    """Model, precision and backend."""
    frames_resumed: int
    """Of the frames, those that an earlier run made."""
    seconds: float
    """From the first frame to the finished file; without loading or compiling the engine, and without going over what
    an earlier run made."""
    latency_ms: dict[str, float]
    """p50, p95, p99 from leaving the decoder to having been taken by the encoder, waiting in queues included."""
    limits: Limits | None
    """What the cores and each stage by itself allow, which is the lowest, and how much of it was reached; None where an
    earlier run had made every frame."""
    quality: VideoQuality | None
    """Where a reference was given."""
    qp: QpUse | None = None
    """Where the QP of frames was read: what it was, and what was skipped for it."""


def result_of(
    pipeline: Pipeline,
    *,
    target: Path | None,
    manifest: EngineManifest,
    memory: PeakMemory,
    quality: VideoQuality | None,
    warnings: list[str],
) -> VideoResult:
    """Gather the figures of a finished run.

    Args:
        pipeline: has run.
        target: what was written, if anything.
        manifest: of the engine.
        memory: measured meanwhile.
        quality: measured meanwhile, if it was.
        warnings: those of the writing side; the input's and the guard's are added.
    """
    clip, filtering, sink = pipeline.source, pipeline.filtering, pipeline.sink
    info, seconds, busy = clip.info, pipeline.time.seconds, pipeline.busy_seconds
    frames = pipeline.frames_in - sink.frames_done
    fps = frames / seconds
    kmac_per_px = manifest.cost.get("kmac_per_px")
    guard = filtering.guard.report
    told = [*clip.warnings, *warnings, guard.warning()]
    counted = {"total": "tiles", "reused": "tiles_reused", "moved": "tiles_moved", "kept": "tiles_skipped"}
    return VideoResult(
        input=info.path,
        output=target,
        engine=manifest.label,
        frames_in=pipeline.frames_in,
        frames_out=sink.frames_written,
        frames_resumed=sink.frames_done,
        width=info.width,
        height=info.height,
        seconds=seconds,
        fps=fps,
        speed_x=fps / float(info.frame_rate),
        stages_ms={stage: 1000 * each / frames if frames else 0.0 for stage, each in busy.items()},
        latency_ms={f"p{q}": 1000 * float(np.percentile(pipeline.latencies or [0.0], q)) for q in (50, 95, 99)},
        tflops=None if kmac_per_px is None else 2e3 * kmac_per_px * info.width * info.height * fps / 1e12,
        peak_memory_mb=memory.idle_mb + memory.peak_mb,
        tiles=TileUse(**{name: int(sink.counts.get(key, 0)) for name, key in counted.items()}),
        guard=guard,
        damage=clip.damage,
        limits=None
        if not frames
        else limits_of(frames=frames, seconds=seconds, cpu_seconds=pipeline.time.cpu_seconds, busy_seconds=busy),
        quality=quality,
        qp=filtering.steering.result() if filtering.steering is not None else None,
        warnings=[each for each in told if each is not None],
    )
