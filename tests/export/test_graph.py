"""The graph computes what SampleFilter does, and holds nothing but that."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper

from postfilter import models
from postfilter.export import rewrite, to_graph
from postfilter.export.further import declared_inputs, drawn_inputs
from postfilter.export.graph import graph_bytes
from postfilter.export.verify import reference_output
from postfilter.models.sample_filter import SampleFilter
from postfilter.quantize import HEAD, TAIL
from postfilter.runtime import with_bit_depth
from postfilter.runtime.further_inputs import pack


def _load(weights_of, name: str, *, residual: bool = True) -> models.Model:
    return models.load(name, weights=weights_of(name, residual=residual))


def _run(graph: onnx.ModelProto, samples: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph_bytes(graph), providers=["CPUExecutionProvider"])
    return session.run(None, {"samples": samples})[0]


def _samples(channels: int, height: int, width: int, *, frames: int = 1, peak: int = 255) -> np.ndarray:
    kind = np.uint8 if peak == 255 else np.uint16
    return np.random.default_rng(5).integers(0, peak + 1, (frames, channels, height, width)).astype(kind)


@pytest.mark.parametrize(
    ("name", "residual"), [*((name, True) for name in models.names()), ("arcnn-luma", False), ("fastarcnn", False)]
)
def test_it_filters_as_pytorch_does_whatever_the_size(weights_of, name, residual):
    model = _load(weights_of, name, residual=residual)
    assert model.card.residual is residual
    graph = to_graph(model)
    multiple = model.card.size_multiple
    for height, width, frames in ((24, 32, 1), (17, 9, 3), (1, 1, 1)):
        samples = _samples(model.card.channels, height * multiple, width * multiple, frames=frames)
        inputs = drawn_inputs(model.card, samples)
        expected = reference_output(model, samples, inputs)
        assert np.mean(expected != samples) > 0.5
        packed = pack(samples, declared_inputs(model.card), inputs, peak=255)
        difference = np.abs(_run(graph, packed).astype(int) - expected)
        # Two libraries add in different orders; only sums close to a half may be rounded apart.
        assert difference.max() <= 1
        assert np.mean(difference) < 1e-3


def test_the_rewritten_graph_filters_as_pytorch_does(weights_of):
    model = _load(weights_of, "fastarcnn")
    graph, done = rewrite(to_graph(model))
    assert len(done) == 1 and "last" in done[0]
    assert "ConvTranspose" not in {node.op_type for node in graph.graph.node}
    samples = _samples(3, 46, 70)
    difference = np.abs(_run(graph, samples).astype(int) - reference_output(model, samples))
    assert difference.max() <= 1
    assert np.mean(difference) < 1e-3


def test_the_reference_pads_an_odd_size_as_engines_do(weights_of):
    model = _load(weights_of, "fastarcnn-luma")
    samples = _samples(1, 33, 47)
    padded = np.pad(samples, ((0, 0), (0, 0), (0, 1), (0, 1)), mode="edge")
    np.testing.assert_array_equal(reference_output(model, samples), reference_output(model, padded)[..., :33, :47])


def test_another_bit_depth_is_an_edit_of_the_same_graph(weights_of):
    model = _load(weights_of, "arcnn-luma")
    graph = with_bit_depth(to_graph(model), 10)
    samples = _samples(1, 24, 40, peak=1023)
    with torch.inference_mode():
        codes = torch.from_numpy(samples.astype(np.float32))
        expected = SampleFilter(model.network, residual=True)(codes, torch.tensor(1023.0)).numpy()
    difference = np.abs(_run(graph, samples).astype(int) - expected)
    assert expected.max() > 255
    assert difference.max() <= 1
    assert np.mean(difference) < 2e-3


def test_input_output_and_peak_are_as_backends_expect_them(weights_of):
    graph = to_graph(_load(weights_of, "fastarcnn")).graph
    for value, name in ((graph.input[0], "samples"), (graph.output[0], "filtered")):
        kind = value.type.tensor_type
        dims = [dim.dim_param or dim.dim_value for dim in kind.shape.dim]
        assert (value.name, kind.elem_type, dims) == (name, TensorProto.UINT8, ["N", 3, "H", "W"])
    peaks = [each for each in graph.initializer if each.name == "peak"]
    assert [numpy_helper.to_array(each) for each in peaks] == [np.float32(255)]
    readers = [node.op_type for node in graph.node if "peak" in node.input]
    assert readers == ["Div", "Mul", "Clip"]
    assert graph.node[0].op_type == graph.node[-1].op_type == "Cast"


def test_a_fixed_size_is_rounded_up_to_the_multiple(weights_of):
    graph = to_graph(_load(weights_of, "fastarcnn"), size=(63, 48))
    expected = (48, 64)
    dims = graph.graph.input[0].type.tensor_type.shape.dim
    assert (dims[2].dim_value, dims[3].dim_value) == expected
    samples = _samples(3, *expected, frames=2)
    assert _run(graph, samples).shape == samples.shape


def test_the_same_weights_give_the_same_bytes_and_other_weights_others(weights_of):
    model = _load(weights_of, "fastarcnn-luma")
    hashes = [hashlib.sha256(graph_bytes(rewrite(to_graph(model))[0])).hexdigest() for _ in range(2)]
    assert hashes[0] == hashes[1]
    again = _load(weights_of, "fastarcnn-luma")
    again.network.last.bias.data += 1e-3
    assert hashlib.sha256(graph_bytes(rewrite(to_graph(again))[0])).hexdigest() != hashes[0]


def test_names_are_those_of_the_network_and_nothing_tells_of_the_machine(weights_of):
    model = _load(weights_of, "fastarcnn")
    graph = to_graph(model)
    body = [node.name for node in graph.graph.node if not node.name.startswith((HEAD, TAIL))]
    assert body == [*(f"base.{k}" for k in range(8)), "last"]
    weights = {each.name: numpy_helper.to_array(each) for each in graph.graph.initializer}
    state = model.network.state_dict()
    np.testing.assert_array_equal(weights["base.4.weight"], state["base.4.weight"].numpy())
    assert weights["base.5.slope"].item() == pytest.approx(state["base.5.weight"].item())
    bare = onnx.ModelProto()
    bare.CopyFrom(graph)
    for each in bare.graph.initializer:
        each.ClearField("raw_data")  # random bytes may spell anything
    content = bare.SerializeToString()
    assert not re.search(rb"/\w+/|\.py|torch", content)
