"""The network with its values rounded as int8 would round them, to try ranges on: one session for every trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from postfilter.quantize.edges import convolutions, split_nodes
from postfilter.quantize.int8 import CENTRE, HALVED, INPUT_STEP
from postfilter.quantize.network_input import covariance_by_value, network_inputs, never_negative
from postfilter.quantize.weight_rounding import rounded_weight
from postfilter.runtime.ort import import_onnxruntime

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    Samples: TypeAlias = NDArray[np.uint8]

__all__ = ["Trial", "largest_by_channel", "observe"]


def observe(graph: onnx.ModelProto, crops: Samples) -> tuple[dict[str, tuple[float, float]], NDArray[np.float32]]:
    """Run a fp32 graph; return the (least, largest) of each value that a convolution reads, and the network's output.

    The network's own input, whose range is known, is left out. Each range holds 0 and is never empty.

    Args:
        graph: of `export.to_graph`.
        crops: uint8 [K, C, H, W].

    Returns:
        The ranges by value; the output float32 [K, C, H, W] before it is scaled to code values.
    """
    inputs = network_inputs(graph)
    values = [value for value in _values_read(graph) if value not in inputs]
    session = _session(graph, [*values, _output(graph)])
    extremes, outputs = dict.fromkeys(values, (-1e-6, 1e-6)), []
    for crop in crops:
        *seen, output = session.run(None, {graph.graph.input[0].name: crop[None]})
        outputs.append(output)
        for value, array in zip(values, seen, strict=True):
            low, high = extremes[value]
            extremes[value] = min(low, float(array.min())), max(high, float(array.max()))
    return extremes, np.concatenate(outputs)


def largest_by_channel(graph: onnx.ModelProto, crops: Samples, values: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Run a fp32 graph; return the largest magnitude in each channel of some of its values, float32 [C] each."""
    largest: dict[str, NDArray[np.float32]] = {}
    if not values:
        return largest
    session = _session(graph, values)
    for crop in crops:
        for value, array in zip(values, session.run(None, {graph.graph.input[0].name: crop[None]}), strict=True):
            found = np.abs(array).max(axis=(0, 2, 3))
            largest[value] = np.maximum(found, largest.get(value, 0))
    return largest


class Trial:
    """The fp32 graph with int8 weights, where what convolutions read is rounded with steps and centres given later.

    It computes what `to_int8` would for a backend that takes uint8, but the centre is added again behind the
    rounding instead of taken up by a bias.

    Args:
        graph: of `export.to_graph`.
        crops: uint8 [K, C, H, W], on which every trial is run.
        wanted: what `observe` returned for them.
    """

    def __init__(self, graph: onnx.ModelProto, crops: Samples, wanted: NDArray[np.float32]) -> None:
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        trial = onnx.ModelProto()
        trial.CopyFrom(graph)
        body, layers, covariance_of = trial.graph, set(convolutions(graph)), covariance_by_value(graph)
        weights = {node.input[1]: node.input[0] for node in body.node if node.name in layers}
        for each in body.initializer:
            if each.name in weights:
                weight = numpy_helper.to_array(each)
                whole, steps = rounded_weight(weight, covariance=covariance_of(weights[each.name], weight.shape))
                each.CopyFrom(numpy_helper.from_array(whole * steps[:, None, None, None], each.name))
        nodes = []
        for value in _values_read(graph):
            for kind in ("step", "centre"):
                body.input.append(helper.make_tensor_value_info(f"{value}.{kind}", TensorProto.FLOAT, []))
        for zero in (np.array(0, np.int8), np.array(0, np.uint8)):
            body.initializer.append(numpy_helper.from_array(zero, f"trial.{zero.dtype}"))
        self._positive = never_negative(graph)
        seen = set()
        for node in body.node:
            if node.name in layers:
                value = node.input[0]
                if value not in seen:
                    nodes += _rounding(value, "uint8" if value in self._positive else "int8")
                    seen.add(value)
                node.input[0] = f"{value}.tried"
            nodes.append(node)
        copied = [type(node).FromString(node.SerializeToString()) for node in nodes]
        del body.node[:], body.value_info[:]
        body.node.extend(copied)
        self._session = _session(trial, [_output(graph)])
        self._samples = graph.graph.input[0].name
        self._values = set(seen)
        self._exact = dict.fromkeys(network_inputs(graph), (INPUT_STEP, CENTRE))
        self._crops, self._wanted = crops, wanted

    def error(self, ranges: dict[str, tuple[float, float]]) -> float:
        """Return the mean square of what the output differs by, where the samples' peak is 1.

        Args:
            ranges: value -> (step, centre), of all that `observe` tells of.
        """
        feed = {}
        known = self._exact | ranges
        for value in self._values & self._positive:
            step, centre = known[value]
            known[value] = step * HALVED, centre
        for value in self._values:
            for kind, number in zip(("step", "centre"), known[value], strict=True):
                feed[f"{value}.{kind}"] = np.array(number, np.float32)
        found = 0.0
        for crop, wanted in zip(self._crops, self._wanted, strict=True):
            (output,) = self._session.run(None, feed | {self._samples: crop[None]})
            found += float(np.mean((output[0] - wanted) ** 2, dtype=np.float64))
        return found / len(self._crops)


def _rounding(value: str, kind: str) -> list[onnx.NodeProto]:
    from onnx import helper

    zero = f"trial.{kind}"
    step, centre = f"{value}.step", f"{value}.centre"
    return [
        helper.make_node("Sub", [value, centre], [f"{value}.centred"]),
        helper.make_node("QuantizeLinear", [f"{value}.centred", step, zero], [f"{value}.int8"]),
        helper.make_node("DequantizeLinear", [f"{value}.int8", step, zero], [f"{value}.rounded"]),
        helper.make_node("Add", [f"{value}.rounded", centre], [f"{value}.tried"]),
    ]


def _values_read(graph: onnx.ModelProto) -> list[str]:
    layers = set(convolutions(graph))
    return list(dict.fromkeys(node.input[0] for node in graph.graph.node if node.name in layers))


def _output(graph: onnx.ModelProto) -> str:
    """The network's output, before it is scaled to code values."""
    return split_nodes(graph)[1][-1].output[0]


def _session(graph: onnx.ModelProto, outputs: Sequence[str]) -> Any:
    import onnx
    from onnx import TensorProto, helper

    onnxruntime = import_onnxruntime("calibrating")
    shown = onnx.ModelProto()
    shown.CopyFrom(graph)
    del shown.graph.output[:]
    shown.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
