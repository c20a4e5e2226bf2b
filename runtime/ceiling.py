"""What this machine can do at best, in the same backend and precision: the limit that an engine is held against."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from postfilter.runtime.backend import Options, backend_class, usable_cores
from postfilter.runtime.macs import node_macs
from postfilter.runtime.manifest import GRAPH, EngineManifest
from postfilter.runtime.measure import best_seconds

if TYPE_CHECKING:
    import onnx


__all__ = ["bandwidth_gbs", "compute_tflops", "stack_of_convolutions"]

_log = logging.getLogger(__name__)

_CHANNELS = 256
_SIDE = 64
_DEPTH = 4
_COPY_BYTES = 64 * 2**20


def compute_tflops(manifest: EngineManifest, *, device: str, threads: int | None = None, seconds: float = 1.0) -> float:
    """Measure the arithmetic rate of an engine's backend at its precision, in TFLOP/s (1 MAC = 2 FLOP).

    The work is a stack of 3x3 convolutions of 256 channels on 64x64 samples, which live in the caches; the best of as
    many runs as fit into `seconds` counts. PyTorch gets a product of square matrices instead, and stands in for
    TensorRT, whose plans take minutes to build; 0 where no PyTorch with CUDA is there to do so.

    Args:
        manifest: of the engine; says backend and precision.
        device: the backend's name of the device.
        threads: CPU threads; every core where None.
        seconds: how long to measure; one run is made in any case.
    """
    if manifest.backend == "torch":
        from postfilter.runtime.pt import product_tflops

        return product_tflops(device=device, precision=manifest.precision_run or manifest.precision, seconds=seconds)
    if manifest.backend == "tensorrt":
        return _tflops_by_torch(device=device, precision=manifest.precision_run or manifest.precision, seconds=seconds)
    shape = (1, 1, _SIDE, _SIDE)
    graph = stack_of_convolutions(half=manifest.precision == "fp16" and manifest.backend != "openvino")
    macs = sum(node_macs(graph, shape).values())
    with tempfile.TemporaryDirectory(prefix="postfilter-") as folder:
        (Path(folder) / GRAPH).write_bytes(graph.SerializeToString())
        options = Options(bit_depth=8, device=device, threads=threads)
        backend = backend_class(manifest.backend)(Path(folder), dataclasses.replace(manifest, bit_depth=8), options)
        compiled = backend.compile(shape)
        samples = np.full(shape, 128, dtype=np.uint8)
        best = best_seconds(lambda: compiled.infer(samples), seconds)
        backend.close()
    return 2 * macs / best / 1e12


def bandwidth_gbs(*, threads: int | None = None, seconds: float = 0.5) -> float:
    """Measure how fast this machine's cores copy memory, in GB/s read plus written.

    Each core copies 64 MiB at the same time as the others; the best run counts.
    """
    cores = usable_cores(threads)
    # Ones and zeros, not empty: pages that were never written share one page of memory.
    pairs = [(np.zeros(_COPY_BYTES, dtype=np.uint8), np.ones(_COPY_BYTES, dtype=np.uint8)) for _ in range(cores)]
    with ThreadPoolExecutor(cores) as pool:
        best = best_seconds(lambda: list(pool.map(lambda pair: np.copyto(*pair), pairs)), seconds)
    return 2 * _COPY_BYTES * cores / best / 1e9


def stack_of_convolutions(*, half: bool) -> onnx.ModelProto:
    """Return a graph that is nearly all multiplications: samples in and out, like an engine's.

    Args:
        half: whether the convolutions are in fp16.
    """
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    kind = np.float16 if half else np.float32
    widths = [1, *[_CHANNELS] * (_DEPTH + 1), 1]
    body = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    nodes = [helper.make_node("Cast", ["samples"], ["x0"], name="in", to=body)]
    weights = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        # Of a size that keeps values near one from layer to layer.
        values = random.standard_normal((outputs, inputs, 3, 3)) / np.sqrt(9 * inputs)
        weights.append(numpy_helper.from_array(values.astype(kind), f"w{index}"))
        names = [f"x{index}", f"w{index}"], [f"x{index + 1}"]
        nodes.append(helper.make_node("Conv", *names, name=f"conv{index}", kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("Cast", [f"x{len(weights)}"], ["filtered"], name="out", to=TensorProto.UINT8))
    values = [
        helper.make_tensor_value_info(name, TensorProto.UINT8, ["N", 1, "H", "W"]) for name in ("samples", "filtered")
    ]
    graph = helper.make_graph(nodes, "ceiling", values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _tflops_by_torch(*, device: str, precision: str, seconds: float) -> float:
    from postfilter.runtime.pt import product_tflops

    try:
        return product_tflops(device=device, precision=precision, seconds=seconds)
    # An assertion is what a torch without CUDA fails with.
    except (ImportError, AssertionError, RuntimeError) as error:
        _log.warning("the limit of the GPU is not measured: that takes PyTorch with CUDA (%s)", error)
        return 0.0
