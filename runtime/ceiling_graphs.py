"""Graphs that are nearly all multiplications, of which the machine's limit is measured."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from postfilter.runtime.backend import Shape

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["WORKS", "Work", "heavy_graph"]

_ACTIVATION_SCALE = 4.0
"""Of the int8 graphs: one step. Values are near 128 throughout, so that codes are neither all 0 nor all at the ends."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One kind of work. Which of them a machine does fastest depends on its caches and on the backend's kernels."""

    kind: Literal["convolution", "product"]
    channels: int
    """Of each layer but the ends; of a product, columns and rows of the square right-hand matrices."""
    kernel: int = 1
    """Side of the kernel; 1 for a product."""
    shape: Shape
    """Of the samples, one channel."""
    depth: int
    """Layers that count, one after the other."""


WORKS = (
    Work(kind="convolution", channels=256, kernel=3, shape=(1, 1, 64, 64), depth=4),
    Work(kind="convolution", channels=256, kernel=3, shape=(1, 1, 32, 32), depth=8),
    Work(kind="convolution", channels=512, kernel=1, shape=(1, 1, 32, 32), depth=12),
    Work(kind="product", channels=1024, shape=(1, 1, 1024, 1024), depth=4),
)
"""With OpenVINO on two Zen 5 cores, TFLOP/s in fp32, bf16 and int8: 0.30, 1.10, 2.06 of the first; 0.58, 1.06, 1.95;
0.55, 1.04, 1.90; 0.54, 1.07, 1.95. The processor's own instructions, on registers alone, reach 0.58, 1.08, 2.32."""


def heavy_graph(work: Work, precision: Literal["fp32", "fp16", "int8"]) -> onnx.ModelProto:
    """Return a graph of `work` with samples in and out, like an engine's: `samples` uint8 to `filtered` uint8.

    int8 means QuantizeLinear and DequantizeLinear, signed, symmetric (zero point 0), on the input of each layer that
    counts, and weights with a scale for each output channel: what OpenVINO, ONNX Runtime and TensorRT all take. For
    processors that multiply unsigned by signed bytes (AVX-512 VNNI) OpenVINO makes the activations unsigned, as fast as
    a graph that is unsigned from the start.
    """
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    kind = np.float16 if precision == "fp16" else np.float32
    nodes, weights = [], []

    def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], name=attributes.pop("name", output), **attributes))
        return output

    def constant(name: str, values: NDArray[Any]) -> str:
        weights.append(numpy_helper.from_array(values, name))
        return name

    def weight(index: int, *shape: int, axis: int, int8: bool) -> str:
        inputs = shape[0] if work.kind == "product" else int(np.prod(shape[1:]))
        # Of a size that keeps values as large as they are from layer to layer.
        values = (random.standard_normal(shape) / np.sqrt(inputs)).astype(np.float32)
        if not int8:
            return constant(f"w{index}", values.astype(kind))
        others = tuple(each for each in range(values.ndim) if each != axis)
        scales = np.abs(values).max(axis=others, keepdims=True) / 127
        codes = constant(f"w{index}", np.round(values / scales).astype(np.int8))
        scale = constant(f"w{index}_scale", scales.ravel())
        zero = constant(f"w{index}_zero", np.zeros(scales.size, dtype=np.int8))
        return node("DequantizeLinear", [codes, scale, zero], f"w{index}_float", axis=axis)

    if precision == "int8":
        constant("scale", np.array(_ACTIVATION_SCALE, dtype=np.float32))
        constant("zero", np.array(0, dtype=np.int8))
    body = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT
    value = node("Cast", ["samples"], "x0", name="in", to=body)
    wide = [work.channels] * (work.depth + 1)
    widths = wide if work.kind == "product" else [1, *wide, 1]
    for index, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        int8 = precision == "int8" and inputs == outputs
        if int8:
            codes = node("QuantizeLinear", [value, "scale", "zero"], f"x{index}_codes")
            value = node("DequantizeLinear", [codes, "scale", "zero"], f"x{index}_float")
        if work.kind == "product":
            name = weight(index, inputs, outputs, axis=1, int8=int8)
            value = node("MatMul", [value, name], f"x{index + 1}", name=f"product{index}")
        else:
            side = work.kernel
            name = weight(index, outputs, inputs, side, side, axis=0, int8=int8)
            shape = {"kernel_shape": [side] * 2, "pads": [side // 2] * 4}
            value = node("Conv", [value, name], f"x{index + 1}", name=f"conv{index}", **shape)
    node("Cast", [value], "filtered", name="out", to=TensorProto.UINT8)
    sides: list[str | int | None] = ["N", 1, "H", "W"] if work.kind == "convolution" else list(work.shape)
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, sides) for name in ("samples", "filtered")]
    graph = helper.make_graph(nodes, "ceiling", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
