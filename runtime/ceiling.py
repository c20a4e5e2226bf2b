"""What this machine can do at best, in the same backend and at each precision: the limit an engine is held against."""

from __future__ import annotations

import functools
import logging
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np

from postfilter.errors import PostfilterError
from postfilter.runtime.backend import Options, backend_class, usable_cores
from postfilter.runtime.ceiling_graphs import WORKS, Work, heavy_graph
from postfilter.runtime.cuda_probe import cuda_name
from postfilter.runtime.macs import layer_work
from postfilter.runtime.manifest import GRAPH, EngineManifest
from postfilter.runtime.measure import best_seconds

__all__ = ["bandwidth_gbs", "compute_tflops", "graph_tflops"]

Graph = Literal["fp32", "fp16", "int8"]
_GRAPHS: tuple[Graph, ...] = ("fp32", "fp16", "int8")

_log = logging.getLogger(__name__)

_COPY_BYTES = 64 * 2**20


def compute_tflops(
    backend: str, *, device: str, threads: int | None = None, seconds: float = 1.0, works: tuple[Work, ...] = WORKS
) -> dict[str, float]:
    """Measure the arithmetic rate of a backend at each precision that it has here, in TFLOP/s (1 MAC = 2 FLOP).

    Stacks of convolutions and a product of matrices are run in fp32, fp16 and int8 graphs; of each the fastest run of
    the fastest kind counts, under the precision that the backend tells it really ran in: fp16 graphs run as `bf16` on
    CPUs that multiply that, and as fp32, which adds nothing, on those that do not. PyTorch gets a product of square
    matrices instead, and stands in for TensorRT, whose plans take minutes to build.

    Args:
        backend: a key of `runtime.BACKENDS`.
        device: the backend's name of the device.
        threads: CPU threads; every core where None.
        seconds: how long to measure each precision; each kind is run once in any case.
        works: the kinds of work.

    Returns:
        Precision -> rate; without what this machine cannot run, and empty where nothing could be measured. It is
        measured once a process.
    """
    if device.lower().startswith("dla"):
        return {}  # nothing but a plan runs there
    measure = _by_torch if backend in ("torch", "tensorrt") else _by_graphs
    return dict(measure(backend, device, threads, seconds, works))


def graph_tflops(
    backend: str,
    precision: Graph,
    *,
    device: str,
    threads: int | None = None,
    seconds: float = 1.0,
    works: tuple[Work, ...] = WORKS,
) -> tuple[str, float]:
    """Measure the arithmetic rate of a backend on graphs of one precision, each time anew.

    Args:
        backend: `openvino` or `onnxruntime`.
        precision: of the graphs.
        device: see `compute_tflops`, as all that follow.
        threads: see `compute_tflops`.
        seconds: see `compute_tflops`.
        works: see `compute_tflops`.

    Returns:
        The precision in which most of the fastest work really ran, and its rate in TFLOP/s; 0 where nothing runs.
    """
    best: tuple[str, float] = (precision, 0.0)
    for work in works:
        try:
            found = _rate(backend, device, threads, seconds / len(works), work, precision)
        except (PostfilterError, RuntimeError) as error:
            _log.info("no limit of %s on %s in %s: %s", backend, device, precision, error)
            continue
        best = max(best, found, key=lambda each: each[1])
        if found[0] == "fp32" != precision:
            break  # no kernels for this precision here: the others would only be slower fp32
    return best


def bandwidth_gbs(*, device: str = "CPU", threads: int | None = None, seconds: float = 0.5) -> float:
    """Measure how fast memory is copied, in GB/s read plus written; 0 where that cannot be measured.

    Each core copies 64 MiB at the same time as the others; the best run counts. The memory of an NVIDIA GPU is copied
    by PyTorch.

    Args:
        device: a backend's name of the device whose memory it is.
        threads: CPU threads; every core where None.
        seconds: how long to measure.
    """
    gpu = cuda_name(device)
    if gpu is not None:
        return _gpu_bandwidth_gbs(gpu, seconds)
    cores = usable_cores(threads)
    # Ones and zeros, not empty: pages that were never written share one page of memory.
    pairs = [(np.zeros(_COPY_BYTES, dtype=np.uint8), np.ones(_COPY_BYTES, dtype=np.uint8)) for _ in range(cores)]
    with ThreadPoolExecutor(cores) as pool:
        best = best_seconds(lambda: list(pool.map(lambda pair: np.copyto(*pair), pairs)), seconds)
    return 2 * _COPY_BYTES * cores / best / 1e9


@functools.cache
def _by_graphs(
    backend: str, device: str, threads: int | None, seconds: float, works: tuple[Work, ...]
) -> dict[str, float]:
    best: dict[str, float] = {}
    for precision in _GRAPHS:
        ran, rate = graph_tflops(backend, precision, device=device, threads=threads, seconds=seconds, works=works)
        if rate:
            best[ran] = max(rate, best.get(ran, 0.0))
    return best


def _rate(
    backend: str, device: str, threads: int | None, seconds: float, work: Work, precision: Graph
) -> tuple[str, float]:
    """Return the precision in which most of the arithmetic ran, and the rate of the fastest run in TFLOP/s."""
    graph = heavy_graph(work, precision)
    manifest = EngineManifest(
        model="ceiling", layout="luma", backend=backend, backend_version="", device=device, precision=precision
    )
    with tempfile.TemporaryDirectory(prefix="postfilter-") as folder:
        (Path(folder) / GRAPH).write_bytes(graph.SerializeToString())
        opened = backend_class(backend)(Path(folder), manifest, Options(bit_depth=8, device=device, threads=threads))
        try:
            compiled = opened.compile(work.shape)
            samples = np.full(work.shape, 128, dtype=np.uint8)
            best = best_seconds(lambda: compiled.infer(samples), seconds)
            layers = compiled.layers()
        finally:
            opened.close()
    by_precision: dict[str, float] = {}
    for layer, each in zip(layers, layer_work(layers, graph, work.shape), strict=True):
        by_precision[layer.precision] = by_precision.get(layer.precision, 0.0) + each.mmac
    ran = max(by_precision, key=lambda name: by_precision[name])
    return ran, 2 * sum(by_precision.values()) / best / 1e6


def _gpu_bandwidth_gbs(device: str, seconds: float) -> float:
    from postfilter.runtime.pt_limits import copy_gbs

    try:
        return copy_gbs(device=device, seconds=seconds)
    except (ImportError, AssertionError, RuntimeError) as error:
        _log.warning("the memory of %s is not measured: that takes PyTorch with CUDA (%s)", device, error)
        return 0.0


@functools.cache
def _by_torch(
    backend: str, device: str, threads: int | None, seconds: float, works: tuple[Work, ...]
) -> dict[str, float]:
    from postfilter.runtime.pt_limits import best_tflops

    found = {}
    # torch has no int8 engines; TensorRT has.
    for precision in ("fp32", "fp16", "bf16", *(("int8",) if backend == "tensorrt" else ())):
        try:
            found[precision] = best_tflops(device=cuda_name(device) or device, precision=precision, seconds=seconds)
        # An assertion is what a torch without CUDA fails with.
        except (ImportError, AssertionError, RuntimeError) as error:
            _log.warning("no limit of %s in %s: that takes PyTorch with CUDA (%s)", device, precision, error)
    return found
