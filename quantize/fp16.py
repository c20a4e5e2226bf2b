"""Half precision inside the network, fp32 around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postfilter.errors import WeightsError
from postfilter.quantize.edges import crossing_values, float_weights, split_nodes
from postfilter.runtime.ort import import_onnxruntime

if TYPE_CHECKING:
    import onnx

__all__ = ["to_fp16"]

_LARGEST = 65504.0
"""The largest finite fp16 number."""
_SMALLEST = 5.96e-08
"""The converter's smallest: a weight nearer to zero becomes this, an error of less than a fp16 step."""


def to_fp16(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its network in fp16; the one given is left as it is.

    1. The nodes of the head and of the tail stay as they are: code values up to 65535 do not fit fp16, and the addition
       of the input and the rounding decide the last bit.
    2. Between them every weight, operator and value is fp16 (onnxruntime's converter), with one cast in and one out.

    Raises:
        WeightsError: a weight is larger than fp16 can hold.
        MissingDependencyError: onnxruntime, whose converter this is, is not installed.
    """
    import onnx

    import_onnxruntime("converting to fp16")
    from onnxruntime.transformers import float16

    head, body, tail = split_nodes(graph)
    _refuse_overflow(graph, body)
    network = _as_model(graph, body, before=head, after=tail)
    half = float16.convert_float_to_float16(
        network,
        min_positive_val=_SMALLEST,
        max_finite_val=_LARGEST,
        keep_io_types=True,
        op_block_list=[],
    )
    converted = onnx.ModelProto()
    converted.CopyFrom(graph)
    del converted.graph.node[:], converted.graph.initializer[:], converted.graph.value_info[:]
    converted.graph.node.extend([*head, *_in_order(half.graph), *tail])
    weights = {each.name for each in network.graph.initializer}
    kept = [each for each in graph.graph.initializer if each.name not in weights]
    converted.graph.initializer.extend([*kept, *half.graph.initializer])
    onnx.checker.check_model(converted)
    return converted


def _refuse_overflow(graph: onnx.ModelProto, body: list[onnx.NodeProto]) -> None:
    """Raise where the converter would clip a weight and say nothing."""
    import numpy as np
    import onnx

    too_large = []
    for each in float_weights(graph, body):
        largest = float(np.abs(onnx.numpy_helper.to_array(each)).max(initial=0))
        if not largest <= _LARGEST:
            too_large.append(f"{each.name} (up to {largest:.4g})")
    if too_large:
        raise WeightsError(
            f"fp16 holds numbers up to {_LARGEST:.0f}, these weights are larger: {', '.join(too_large)}; try --fp32"
        )


def _as_model(
    graph: onnx.ModelProto, body: list[onnx.NodeProto], *, before: list[onnx.NodeProto], after: list[onnx.NodeProto]
) -> onnx.ModelProto:
    """Return the network alone as a model whose inputs and outputs are float32 of unknown size."""
    import onnx

    came_in, gone_out = crossing_values(before, body, after)
    read = {name for node in body for name in node.input}
    weights = [each for each in graph.graph.initializer if each.name in read]

    def value(name: str) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * 4)

    network = onnx.helper.make_graph(
        body,
        "network",
        [value(name) for name in came_in],
        [value(name) for name in gone_out],
        weights,
    )
    return onnx.helper.make_model(network, opset_imports=graph.opset_import, ir_version=graph.ir_version)


def _in_order(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the nodes so that each stands behind those it reads from; the converter appends its casts at the end."""
    known = {each.name for each in graph.initializer} | {each.name for each in graph.input} | {""}
    waiting = list(graph.node)
    ordered: list[onnx.NodeProto] = []
    while waiting:
        ready = next(node for node in waiting if known.issuperset(node.input))
        waiting.remove(ready)
        ordered.append(ready)
        known.update(ready.output)
    return ordered
