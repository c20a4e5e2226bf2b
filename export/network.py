"""The nodes of a PyTorch network, through torch.onnx's exporter, under names that mean something."""

from __future__ import annotations

import ast
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from postfilter.errors import MissingDependencyError

if TYPE_CHECKING:
    import onnx
    from torch import nn

__all__ = ["network_nodes"]

_OPSET = 18
"""What torch.onnx's exporter writes without conversion."""
_OPSET_FOR_OLD = 17
"""The newest that TensorRT 8.6 reads; TensorRT 10 reads up to 20."""
_SCOPES = "pkg.torch.onnx.name_scopes"


def network_nodes(
    network: nn.Module, *, channels: int, multiple: int, source: str, target: str
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], int]:
    """Return a network's nodes in order, its weights, and the opset that they are written in.

    A node and the value it makes are called as the module that they come from (`base.0`), a weight as its parameter
    (`base.0.weight`). Documentation strings and metadata are left out: they hold paths of this machine.

    Args:
        network: maps float [N, `channels`, H, W] to the same shape, or to its first channels.
        channels: of the input.
        multiple: H and W are multiples of it.
        source: the name that the network's input shall have.
        target: the name that its output shall have.

    Raises:
        MissingDependencyError: onnxscript is not installed.
    """
    exported = _export(network, channels=channels, multiple=multiple)
    graph = exported.graph
    names = {graph.input[0].name: source}
    for node, name in zip(graph.node, _node_names(graph), strict=True):
        node.name = name
        for k, output in enumerate(node.output):
            names[output] = name if k == 0 else f"{name}.{k}"
    names[graph.output[0].name] = target
    parameters = {name for name, _ in network.named_parameters()} | {name for name, _ in network.named_buffers()}
    for node in graph.node:
        for k, value in enumerate(node.input):
            if value and value not in names:
                # What is no parameter any more is a constant that the exporter computed from one, such as a slope.
                names[value] = value if value in parameters else f"{node.name}.{_role(node, k)}"
    for node in graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[:] = [names[value] for value in node.output]
        _strip(node)
    for weight in graph.initializer:
        weight.name = names.get(weight.name, weight.name)
        _strip(weight)
    return list(graph.node), sorted(graph.initializer, key=lambda each: each.name), _opset(exported)


def _export(network: nn.Module, *, channels: int, multiple: int) -> onnx.ModelProto:
    import torch

    dynamic = torch.export.Dim.DYNAMIC
    # Two frames of an unequal size that is no power of two: torch.export takes 1 and equal sizes for constants.
    example = torch.zeros(2, channels, 24 * multiple, 40 * multiple)
    try:
        with _quiet():
            program = torch.onnx.export(
                network.eval(),
                (example,),
                dynamo=True,
                opset_version=_OPSET,
                dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},),
                external_data=False,
                custom_translation_table={torch.ops.aten.pixel_unshuffle.default: _unshuffled},
                verbose=False,
            )
    except ImportError as error:
        raise MissingDependencyError("onnxscript", "exporting a graph", "export", error) from error
    exported: onnx.ModelProto = program.model_proto  # type: ignore[union-attr]
    return exported


def _unshuffled(self: Any, downscale_factor: int) -> Any:
    """A pixel-unshuffle as one operator, where the exporter by itself writes its shapes and a transposition.

    SpaceToDepth counts the places of a block before the channels, a pixel-unshuffle behind them.
    """
    from onnxscript import opset18

    opset: Any = opset18
    block, channels = downscale_factor, int(self.shape[1])
    made = opset.SpaceToDepth(self, blocksize=block)
    if channels == 1:
        return made
    order = [place * channels + channel for channel in range(channels) for place in range(block * block)]
    return opset.Gather(made, opset.Constant(value_ints=order), axis=1)


def _node_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield a name for each node: its module's, with a number behind it where the module has several."""
    bases = []
    for node in graph.node:
        scopes = {each.key: each.value for each in node.metadata_props}.get(_SCOPES, "[]")
        path = ast.literal_eval(scopes)[:-1]
        bases.append(path[-1] if path and path[-1] else node.op_type.lower())
    count = Counter(bases)
    seen: Counter[str] = Counter()
    for base, node in zip(bases, graph.node, strict=True):
        seen[base] += 1
        yield base if count[base] == 1 else f"{base}.{node.op_type.lower()}{seen[base]}"


def _role(node: onnx.NodeProto, index: int) -> str:
    """What the standard calls an input of the operator: a PRelu's second is `slope`."""
    import onnx

    inputs = onnx.defs.get_schema(node.op_type).inputs
    return inputs[index].name if index < len(inputs) else f"input{index}"


def _strip(item: Any) -> None:
    item.doc_string = ""
    del item.metadata_props[:]


def _opset(model: onnx.ModelProto) -> int:
    """Return 17 where every operator means the same there as in 18, else 18."""
    import onnx

    def meaning(operator: str, opset: int) -> int:
        return onnx.defs.get_schema(operator, max_inclusive_version=opset).since_version

    operators = {node.op_type for node in model.graph.node}
    same = all(meaning(each, _OPSET) == meaning(each, _OPSET_FOR_OLD) for each in operators)
    return _OPSET_FOR_OLD if same else _OPSET


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about packages that it does not need (torchvision) and its own deprecations away."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
