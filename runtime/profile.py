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
from postfilter.runtime.engine import load_engine
from postfilter.runtime.macs import layer_mmacs
from postfilter.runtime.manifest import GRAPH, MANIFEST
from postfilter.runtime.measure import measure_speed, sample_frames
from postfilter.runtime.memory import measure_memory
from postfilter.runtime.padding import padded_size

__all__ = ["DEFAULT_SIZE", "Limit", "Profile", "ProfiledLayer", "profile_engine"]

DEFAULT_SIZE = (720, 480)
"""(width, height) at which an engine that takes any size is measured: the slides' 480p."""

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


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What the machine allows."""

    compute_tflops: float
    """Measured arithmetic rate of this backend at this precision, 1 MAC = 2 FLOP; at least what the engine reached."""
    bandwidth_gbs: float
    """Measured rate of a large copy, bytes read plus bytes written."""
    bound_ms: float
    """No frame can be faster, in milliseconds: the larger of its arithmetic at that rate and its unavoidable traffic
    (samples in and out, weights) at that bandwidth. What layers hand to each other is left out: caches may hold it."""


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
    layers: list[ProfiledLayer]
    limit: Limit

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
    on_step: Callable[[str], None] | None = None,
    on_progress: Callable[..., None] | None = None,
) -> Profile:
    """Measure an engine: speed, memory, layers, and the machine's own limit.

    Args:
        path: the engine folder.
        size: (width, height); the engine's own where it has one, else `DEFAULT_SIZE`.
        seconds: how long to time frames; memory, layers and the limit take a few seconds more.
        frames: how many to time, instead of `seconds`.
        device: see `load_engine`, as `threads` and `requests`.
        threads: see `load_engine`.
        requests: see `load_engine`.
        on_step: told in a few words what begins.
        on_progress: called as `on_progress(done, total, **figures)` while frames are timed.

    Raises:
        PostfilterError: whatever `load_engine` finds wrong.
        InputError: a size that the engine does not take.
    """
    folder = Path(path).parent if Path(path).name == MANIFEST else Path(path)
    step = on_step or (lambda text: None)
    step("timing frames")
    with load_engine(folder, device=device, threads=threads, requests=requests) as engine:
        width, height = size or engine.size or DEFAULT_SIZE
        speed = measure_speed(
            engine, width=width, height=height, seconds=seconds, frames=frames, on_progress=on_progress
        )
        execution = engine.execution(width=width, height=height)
        manifest, requests, device = engine.manifest, engine.requests, engine.device
    step("timing layers")
    layers = _layers(folder, width=width, height=height, device=device, threads=threads)
    step("measuring memory")
    memory = measure_memory(
        folder, width=width, height=height, frames=_MEMORY_FRAMES, stream=True, device=device, threads=threads
    )
    step("measuring the machine's limit")
    compute = compute_tflops(manifest, device=device, threads=threads)
    bandwidth = bandwidth_gbs(threads=threads)

    kmac_per_px = float(manifest.cost.get("kmac_per_px") or sum(each.mmac for each in layers) * 1e3 / width / height)
    flop = 2 * kmac_per_px * 1e3 * width * height
    # A machine that other work slows down may show less than the engine itself reached a moment before.
    compute = max(compute, flop * max(speed.fps, 1e3 / speed.fastest_ms) / 1e12)
    traffic = 2 * manifest.channels * width * height + (folder / GRAPH).stat().st_size
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
        frames=speed.frames,
        latency_ms=speed.latency_ms,
        fps=speed.fps,
        kmac_per_px=kmac_per_px,
        tflops=flop * speed.fps / 1e12,
        peak_memory_mb=memory.peak_mb,
        idle_memory_mb=memory.idle_mb,
        peak_memory_exact=memory.exact,
        layers=layers,
        limit=Limit(
            compute_tflops=compute,
            bandwidth_gbs=bandwidth,
            bound_ms=max(flop / (compute * 1e12), traffic / (bandwidth * 1e9)) * 1e3,
        ),
    )


def _layers(folder: Path, *, width: int, height: int, device: str | None, threads: int | None) -> list[ProfiledLayer]:
    """Time the layers in an engine of its own, so that keeping their times slows nothing else."""
    import onnx

    with load_engine(folder, device=device, threads=threads, layer_times=True) as engine:
        picture = sample_frames(engine, width=width, height=height, count=1)[0]
        engine(picture)
        runs: list[list[Layer]] = []
        begin = time.perf_counter()
        while not runs or (len(runs) < _LAYER_RUNS and time.perf_counter() - begin < _LAYER_SECONDS):
            engine(picture)
            runs.append(engine.layers(width=width, height=height))
        width, height = padded_size(width, height, multiple=engine.size_multiple)
        mmacs = layer_mmacs(runs[0], onnx.load(folder / GRAPH), (1, engine.channels, height, width))
    # By name: a layer of next to no work may be told in one run and left out in the next.
    times: dict[str, list[float]] = {}
    for run in runs:
        for layer in run:
            times.setdefault(layer.name, []).append(layer.ms or 0.0)
    return [
        ProfiledLayer(
            name=layer.name,
            type=layer.type,
            precision=layer.precision,
            ms=statistics.median(times[layer.name]),
            mmac=mmac,
        )
        for layer, mmac in zip(runs[0], mmacs, strict=True)
    ]
