"""The derived reach against the models' cards, and against what really changes when one sample is changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from postfilter import models
from postfilter.errors import ArtefactError
from postfilter.export import build_engine, rewrite, to_graph
from postfilter.export.receptive_field import ReceptiveField, receptive_field
from postfilter.runtime import load_engine


def graph_of(*nodes: onnx.NodeProto, channels: int = 1, **weights: tuple[int, ...]) -> onnx.ModelProto:
    """A float graph from `x` to `y` with random weights of the given shapes, none of them near zero."""
    random = np.random.default_rng(0)
    made = [
        numpy_helper.from_array(random.uniform(0.5, 1, shape).astype(np.float32), name)
        for name, shape in weights.items()
    ]
    shape: list[Any] = [1, channels, "H", "W"]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph(list(nodes), "net", values[:1], values[1:], made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


NETWORKS = {
    "3x3": (graph_of(node("Conv", "x w", "y", pads=[1, 1, 1, 1]), w=(1, 1, 3, 3)), 1, 1),
    "wider than high": (graph_of(node("Conv", "x w", "y", pads=[1, 4, 1, 4]), w=(1, 1, 3, 9)), 4, 1),
    "one-sided": (graph_of(node("Conv", "x w", "y", pads=[5, 5, 0, 0]), w=(1, 1, 6, 6)), 5, 1),
    "dilated": (
        graph_of(node("Conv", "x w", "y", pads=[6, 6, 6, 6], dilations=[3, 3]), w=(1, 1, 5, 5)),
        6,
        1,
    ),
    "down and up": (
        graph_of(
            node("Conv", "x a", "h", pads=[2, 2, 2, 2], strides=[2, 2]),
            node("ConvTranspose", "h b", "y", pads=[2, 2, 2, 2], strides=[2, 2], output_padding=[1, 1]),
            a=(2, 1, 5, 5),
            b=(2, 1, 5, 5),
        ),
        4,
        2,
    ),
    "pooled and shuffled": (
        graph_of(
            node("MaxPool", "x", "p", kernel_shape=[3, 3], strides=[3, 3]),
            node("Conv", "p w", "c", pads=[1, 1, 1, 1]),
            node("DepthToSpace", "c", "y", blocksize=3),
            w=(9, 1, 3, 3),
        ),
        5,
        3,
    ),
    "unshuffled, two branches": (
        graph_of(
            node("SpaceToDepth", "x", "s", blocksize=4),
            node("Conv", "s w", "c", pads=[1, 1, 1, 1]),
            node("Relu", "c", "r"),
            node("Add", "r s", "t"),
            node("DepthToSpace", "t", "d", blocksize=4),
            node("Add", "d x", "y"),
            w=(16, 16, 3, 3),
        ),
        7,
        4,
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_derived_reach_is_what_a_changed_sample_reaches(name: str) -> None:
    graph, halo, multiple = NETWORKS[name]
    assert receptive_field(graph) == ReceptiveField(halo=halo, size_multiple=multiple)
    evaluator = ReferenceEvaluator(graph)
    side = multiple * -(-(4 * halo + 8) // multiple)
    base = np.random.default_rng(1).uniform(1, 2, (1, 1, side, side)).astype(np.float32)
    reached = 0
    (still,) = evaluator.run(None, {"x": base})
    assert still.shape == base.shape
    for row, column in [(side // 2 + i, side // 2 + j) for i in range(multiple) for j in range(multiple)]:
        changed = base.copy()
        changed[0, 0, row, column] += 50  # above all others, for the pooling
        rows, columns = np.nonzero((evaluator.run(None, {"x": changed})[0] != still)[0, 0])
        reached = max(reached, int(np.abs(rows - row).max()), int(np.abs(columns - column).max()))
    assert reached == halo


@pytest.mark.parametrize("name", models.names())
def test_the_models_cards_tell_the_derived_reach(weights_of: Callable[..., Path], name: str) -> None:
    card = models.card(name)
    graph = to_graph(models.load(name, weights=weights_of(name)))
    assert receptive_field(graph) == ReceptiveField(halo=card.halo, size_multiple=card.size_multiple)
    rewritten = receptive_field(rewrite(graph)[0])
    # A rewrite may add taps that are zero and cut off what its blocks overlap: it then seems to reach further.
    assert rewritten.size_multiple % card.size_multiple == 0
    assert card.halo <= rewritten.halo <= card.halo + rewritten.size_multiple


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_pieces_of_a_real_engine_are_bit_for_bit_the_whole_frame(
    weights_of: Callable[..., Path], photograph: NDArray[np.uint8], tmp_path: Path, precision: Any
) -> None:
    """Its last convolution computes blocks of 4x4 outputs: pieces start where those of the frame do."""
    folder = tmp_path / "engine"
    build_engine("fastarcnn-luma", precision=precision, weights=weights_of("fastarcnn-luma"), output=folder)
    with load_engine(folder) as whole:
        assert (whole.halo, whole.manifest.period) == (14, 4)
        for width, height in ((311, 203), (254, 306), (130, 511)):
            frame = np.ascontiguousarray(photograph[None, None, :height, :width, 1])
            expected = whole(frame)
            for piece in ((62, 80), (101, 1000), (1000, 66)):
                with load_engine(folder, piece=piece) as engine:
                    assert np.array_equal(engine(frame), expected), (width, height, piece)


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        (graph_of(node("GlobalAveragePool", "x", "g"), node("Add", "x g", "y")), "GlobalAveragePool"),
        (graph_of(node("Conv", "x w", "y", auto_pad="SAME_UPPER"), w=(1, 1, 3, 3)), "padding"),
        (graph_of(node("Conv", "x w", "y"), w=(1, 1, 3, 3)), "as it went in"),
        (graph_of(node("Add", "x w", "y"), w=(1, 1, 8, 8)), "sample to sample"),
        (graph_of(node("Concat", "x x", "y", axis=2)), "channels"),
    ],
)
def test_what_has_no_neighbourhood_is_told(graph: onnx.ModelProto, told: str) -> None:
    with pytest.raises(ArtefactError, match=told):
        receptive_field(graph)
