"""bfloat16 inside the network, fp32 around it.

bfloat16 is float32 with 8 bits of significand instead of 24 and the same exponents, so nothing that was finite grows
too large for it. What it computes is coarser than fp16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from postfilter.errors import DeviceError
from postfilter.quantize.edges import crossing_values, float_weights, split_nodes

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["refuse_bf16", "to_bf16"]

_OPSET, _IR_VERSION = 22, 10
"""The first in which a convolution takes bfloat16 (ONNX Conv-22), and the oldest file format that goes with it."""


def to_bf16(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its network in bfloat16; the one given is left as it is.

    1. The nodes of the head and of the tail stay in fp32: bfloat16 tells code values apart up to 256 only.
    2. Between them every float weight and value is bfloat16, with one cast in and one out. Weights are rounded to the
       nearest, half to even.
    3. The graph is of opset 22, since older convolutions take no bfloat16.

    OpenVINO runs it; `refuse_bf16` tells who does not.

    Args:
        graph: fp32, of `export.to_graph`, rewritten or not.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    converted = onnx.ModelProto()
    converted.CopyFrom(graph)
    head, body, tail = split_nodes(converted)
    for weight in float_weights(converted, body):
        bits = _rounded_bits(numpy_helper.to_array(weight))
        weight.CopyFrom(
            helper.make_tensor(weight.name, TensorProto.BFLOAT16, bits.shape, bits.astype("<u2").tobytes(), raw=True)
        )
    came_in, gone_out = crossing_values(head, body, tail)
    for node in body:
        for names in (node.input, node.output):
            names[:] = [f"{name}.bf16" if name in (*came_in, *gone_out) else name for name in names]
    rounded = [
        helper.make_node("Cast", [name], [f"{name}.bf16"], name=f"{name}.round", to=TensorProto.BFLOAT16)
        for name in came_in
    ]
    restored = [
        helper.make_node("Cast", [f"{name}.bf16"], [name], name=f"{name}.restore", to=TensorProto.FLOAT)
        for name in gone_out
    ]
    nodes = [type(node).FromString(node.SerializeToString()) for node in (*head, *rounded, *body, *restored, *tail)]
    del converted.graph.node[:], converted.graph.value_info[:]
    converted.graph.node.extend(nodes)
    for each in converted.opset_import:
        if each.domain in ("", "ai.onnx"):
            each.version = max(each.version, _OPSET)
    converted.ir_version = max(converted.ir_version, _IR_VERSION)
    onnx.checker.check_model(converted, full_check=True)
    return converted


def refuse_bf16(backend: str, *, device: str) -> None:
    """Raise where a bfloat16 graph is known not to run.

    Args:
        backend: a key of `runtime.BACKENDS`.
        device: in that backend's words, such as `cpu`.

    Raises:
        DeviceError: ONNX Runtime on a CPU, which has no bfloat16 convolution (it says NOT_IMPLEMENTED).
    """
    if backend == "onnxruntime" and device.lower() == "cpu":
        raise DeviceError(
            "bf16 does not run in ONNX Runtime on a CPU, which has no bfloat16 convolution; OpenVINO has: try "
            "--backend openvino, or --fp32"
        )


def _rounded_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the upper halves of float32 numbers, rounded to the nearest, half to even."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
