"""Everything measured of one engine on this machine."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from postfilter.runtime.backend import Layer, usable_cores
from postfilter.runtime.ceiling import bandwidth_gbs, compute_tflops
from postfilter.runtime.limit import Bound, LayerLoad, Limit, find_limit, layer_bound
from postfilter.runtime.loading import load_engine
from postfilter.runtime.macs import layer_work
from postfilter.runtime.manifest import GRAPH, MANIFEST
from postfilter.runtime.measure import measure_speed, sample_frames
from postfilter.runtime.memory import measure_memory
from postfilter.runtime.overhead import measure_overhead
from postfilter.runtime.padding import padded_size
from postfilter.runtime.piece_rule import Piece
from postfilter.runtime.power import PowerMeter, PowerUse, SensorState

__all__ = ["DEFAULT_SIZE", "Profile", "ProfiledLayer", "profile_engine"]

DEFAULT_SIZE = (720, 480)
"""(width, height) at which an engine that takes any size is measured: the slides' 480p."""

_OVERHEAD_SECONDS = 1.0
_LAYER_RUNS = 5
_LAYER_SECONDS = 5.0
_MEMORY_FRAMES = 4
"""Enough to have as many in flight as any backend has on two cores."""


@dataclass(frozen=True, kw_only=True)
class ProfiledLayer:
    """One layer as executed."""

    name: str
    type: str
    precision: str
    ms: float
    """Median time over a few frames, each run alone, in milliseconds."""
    mmac: float
    """Million multiply-accumulates."""
    tflops: float
    """Achieved by it: 2 x `mmac` / `ms`."""
    share: float | None
    """Of what this machine can do at its precision; None where it multiplies nothing, or that is not known."""
    bound: Bound
    """What limits it: the machine's arithmetic, or moving its values, see `runtime.limit`."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What `profile-engine ENGINE` reports."""

    engine: str
    model: str
    backend: str
    backend_version: str
    device: str
    device_name: str
    precision: str
    precision_run: str
    width: int
    height: int
    threads: int
    requests: int
    piece: tuple[int, int] | None
    """(width, height) of the pieces in which frames were filtered; None: whole."""
    frames: int
    """Single frames timed."""
    latency_ms: dict[str, float]
    """p50, p95, p99 of single frames."""
    fps: float
    """Frames a second, several in flight."""
    kmac_per_px: float
    tflops: float
    """Achieved: 2 x true multiply-accumulates x fps / 1e12."""
    peak_memory_mb: float
    """Growth of resident memory above the idle process in MiB, measured on a stream in a process of its own."""
    idle_memory_mb: float
    """Of that process before the engine was loaded, the backend's libraries included."""
    peak_memory_exact: bool
    """False where memory could only be sampled."""
    overhead_ms: float
    """Of a single call, what is spent outside the backend, see `runtime.overhead`."""
    overhead_share: float
    """The same as a share of the call."""
    layers: list[ProfiledLayer]
    limit: Limit
    power: PowerUse | None
    """Of the stream; None where no sensor tells it."""
    power_sensors: tuple[SensorState, ...]
    """Which were looked for, and why those that are absent are."""

    def as_json(self) -> dict[str, Any]:
        """Return it as what `json` writes."""
        return asdict(self)


def profile_engine(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    seconds: float = 5.0,
    frames: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    requests: int | None = None,
    piece: Piece = "auto",
    memory_limit_mb: float | None = None,
    on_step: Callable[[str], None] | None = None,
    on_progress: Callable[..., None] | None = None,
) -> Profile:
    """Measure an engine: speed, power, memory, layers, and the machine's own limit.

    Args:
        path: the engine folder.
        size: (width, height); the engine's own where it has one, else `DEFAULT_SIZE`.
        seconds: how long to time frames; memory, layers and the limit take a few seconds more.
        frames: how many to time, instead of `seconds`.
        device: see `load_engine`, as all up to `memory_limit_mb`.
        threads: see `load_engine`.
        requests: see `load_engine`.
        piece: see `load_engine`.
        memory_limit_mb: see `load_engine`.
        on_step: told in a few words what begins.
        on_progress: called as `on_progress(done, total, **figures)` while frames are timed.

    Raises:
        PostfilterError: whatever `load_engine` finds wrong.
        InputError: a size that the engine does not take.
    """
    folder = Path(path).parent if Path(path).name == MANIFEST else Path(path)
    step = on_step or (lambda text: None)
    step("timing frames")
    run_as: dict[str, Any] = {
        "device": device,
        "threads": threads,
        "requests": requests,
        "piece": piece,
        "memory_limit_mb": memory_limit_mb,
    }
    with load_engine(folder, **run_as) as engine:
        width, height = size or engine.size or DEFAULT_SIZE
        meter = PowerMeter(engine.device)
        speed = measure_speed(
            engine,
            width=width,
            height=height,
            seconds=seconds,
            frames=frames,
            around_stream=meter,
            on_progress=on_progress,
        )
        overhead = measure_overhead(
            engine, width=width, height=height, seconds=min(seconds, _OVERHEAD_SECONDS), frames=frames
        )
        execution = engine.execution(width=width, height=height)
        manifest, requests, device = engine.manifest, engine.requests, engine.device
        pieces = engine.piece_for(width=width, height=height)
    step("timing layers")
    loads = _layers(folder, width=width, height=height, options=run_as)
    step("measuring memory")
    memory = measure_memory(folder, width=width, height=height, frames=_MEMORY_FRAMES, stream=True, **run_as)
    step("measuring the machine's limit")
    rates = compute_tflops(manifest.backend, device=device, threads=threads)
    bandwidth = bandwidth_gbs(device=device, threads=threads)

    needed = sum(load.mmac for _, load in loads) * 1e3 / width / height
    kmac_per_px = float(manifest.cost.get("kmac_per_px") or needed)
    flop = 2 * kmac_per_px * 1e3 * width * height
    limit = find_limit(
        [load for _, load in loads],
        flop=flop,
        fps=speed.fps,
        fastest_fps=1e3 / speed.fastest_ms,
        traffic_bytes=(manifest.input_channels + manifest.channels) * width * height + (folder / GRAPH).stat().st_size,
        rates=rates,
        bandwidth_gbs=bandwidth,
        precision_run=execution.precision_run,
    )
    return Profile(
        engine=str(folder),
        model=manifest.model,
        backend=manifest.backend,
        backend_version=execution.backend_version,
        device=device,
        device_name=execution.device_name,
        precision=manifest.precision,
        precision_run=execution.precision_run,
        width=width,
        height=height,
        threads=usable_cores(threads),
        requests=requests,
        piece=pieces,
        frames=speed.frames,
        latency_ms=speed.latency_ms,
        fps=speed.fps,
        kmac_per_px=kmac_per_px,
        tflops=flop * speed.fps / 1e12,
        peak_memory_mb=memory.peak_mb,
        idle_memory_mb=memory.idle_mb,
        peak_memory_exact=memory.exact,
        overhead_ms=overhead.overhead_ms,
        overhead_share=overhead.share,
        layers=[_profiled(layer, load, limit) for layer, load in loads],
        limit=limit,
        power=meter.use(frames=speed.stream_frames),
        power_sensors=meter.sensors,
    )


def _profiled(layer: Layer, load: LayerLoad, limit: Limit) -> ProfiledLayer:
    rates = limit.compute_tflops_by_precision
    tflops = 2 * load.mmac / load.ms / 1e3 if load.ms else 0.0
    rate = rates.get(load.precision)
    return ProfiledLayer(
        name=layer.name,
        type=layer.type,
        precision=load.precision,
        ms=load.ms,
        mmac=load.mmac,
        tflops=tflops,
        share=tflops / rate if rate and load.mmac else None,
        bound=layer_bound(load, rates=rates, bandwidth_gbs=limit.bandwidth_gbs),
    )


def _layers(folder: Path, *, width: int, height: int, options: dict[str, Any]) -> list[tuple[Layer, LayerLoad]]:
    """Time the layers in an engine of its own, so that keeping their times slows nothing else."""
    import onnx

    with load_engine(folder, **options, layer_times=True) as engine:
        picture = sample_frames(engine, width=width, height=height, count=1)[0]
        engine(picture)
        runs: list[list[Layer]] = []
        begin = time.perf_counter()
        while not runs or (len(runs) < _LAYER_RUNS and time.perf_counter() - begin < _LAYER_SECONDS):
            engine(picture)
            runs.append(engine.layers(width=width, height=height))
        width, height = padded_size(width, height, multiple=engine.size_multiple)
        work = layer_work(runs[0], onnx.load(folder / GRAPH), (1, engine.manifest.input_channels, height, width))
    # By name: a layer of next to no work may be told in one run and left out in the next.
    times: dict[str, list[float]] = {}
    for run in runs:
        for layer in run:
            times.setdefault(layer.name, []).append(layer.ms or 0.0)
    return [
        (
            layer,
            LayerLoad(
                precision=layer.precision, ms=statistics.median(times[layer.name]), mmac=each.mmac, values=each.values
            ),
        )
        for layer, each in zip(runs[0], work, strict=True)
    ]
