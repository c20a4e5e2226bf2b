from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, numpy_helper

from postfilter.errors import ArtefactError, InputError
from postfilter.runtime import with_bit_depth

TinyGraph = Callable[..., onnx.ModelProto]


def peak(graph: onnx.ModelProto) -> float:
    return float(next(numpy_helper.to_array(each) for each in graph.graph.initializer if each.name == "peak"))


@pytest.mark.parametrize(
    ("bit_depth", "kind"), [(8, TensorProto.UINT8), (10, TensorProto.UINT16), (16, TensorProto.UINT16)]
)
def test_type_and_peak_change_and_nothing_else(tiny_graph: TinyGraph, bit_depth: int, kind: int) -> None:
    graph = tiny_graph()
    before = graph.SerializeToString()
    edited = with_bit_depth(graph, bit_depth)
    onnx.checker.check_model(edited, full_check=True)
    assert graph.SerializeToString() == before, "the graph given was changed"
    assert peak(edited) == 2**bit_depth - 1
    for value in (edited.graph.input[0], edited.graph.output[0]):
        assert value.type.tensor_type.elem_type == kind
    assert with_bit_depth(edited, 8).SerializeToString() == with_bit_depth(graph, 8).SerializeToString()


@pytest.mark.parametrize("bit_depth", [7, 17])
def test_depths_without_a_sample_type(tiny_graph: TinyGraph, bit_depth: int) -> None:
    with pytest.raises(InputError, match="8 to 16"):
        with_bit_depth(tiny_graph(), bit_depth)


def test_a_graph_of_another_make_is_refused(tiny_graph: TinyGraph) -> None:
    nameless = tiny_graph()
    next(each for each in nameless.graph.initializer if each.name == "peak").name = "largest"
    with pytest.raises(ArtefactError, match="'peak'"):
        with_bit_depth(nameless, 10)
    castless = tiny_graph()
    castless.graph.node[-1].op_type = "Identity"
    with pytest.raises(ArtefactError, match="Cast"):
        with_bit_depth(castless, 10)
