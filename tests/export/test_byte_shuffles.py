"""Shuffles as bytes: the same samples out, for one channel and more, with and without further inputs and addition."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from postfilter.export import rewrite, to_graph
from postfilter.export.graph import graph_bytes
from postfilter.export.network import network_nodes
from postfilter.models import Model, ModelCard
from postfilter.models.edge import Edge
from postfilter.quantize import split_nodes
from postfilter.runtime import with_bit_depth

BOTH = ["byte-samples", "byte-codes"]


def _model(network: nn.Module, *, channels: int = 1, inputs: tuple[str, ...] = (), residual: bool = True) -> Model:
    card = ModelCard(
        name="net",
        architecture="",
        layout="luma" if channels == 1 else "rgb",
        residual=residual,
        size_multiple=4,
        halo=20,
        summary="",
        inputs=inputs,
    )
    return Model(card=card, network=network.eval().requires_grad_(False), weights_sha256="")


def _edge(*, unshuffle: int = 4, channels: int = 1, inputs: tuple[str, ...] = ("qp",), residual: bool = True) -> Model:
    torch.manual_seed(1)
    network = Edge(channels, width=6, depth=3, unshuffle=unshuffle, inputs=inputs)
    return _model(network, channels=channels, inputs=inputs, residual=residual)


def _run(graph: onnx.ModelProto, samples: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph_bytes(graph), providers=["CPUExecutionProvider"])
    return session.run(None, {"samples": samples})[0]


def _samples(model: Model, peak: int = 255) -> np.ndarray:
    shape = 2, model.card.input_channels, 20, 28
    return np.random.default_rng(0).integers(0, peak + 1, shape).astype(np.uint8 if peak == 255 else np.uint16)


@pytest.mark.parametrize("inputs", [(), ("qp",), ("qp", "other")])
@pytest.mark.parametrize("unshuffle", [2, 4])
def test_the_filter_stays_what_it_was_and_moves_bytes(unshuffle, inputs):
    model = _edge(unshuffle=unshuffle, inputs=inputs)
    plain, samples = to_graph(model), _samples(model)
    graph, done = rewrite(plain, only=BOTH)
    assert len(done) == 2
    expected = _run(plain, samples)
    np.testing.assert_array_equal(_run(graph, samples), expected)
    assert np.mean(expected != samples[:, :1]) > 0.2
    head, body, tail = split_nodes(graph)
    assert {node.op_type for node in body} == {"Conv", "Relu"}
    assert [node.op_type for node in head][-2:] == ["Cast", "Div"]
    assert tail[-1].op_type == "DepthToSpace"
    # The picture is shuffled once, for the network and for the addition.
    assert sum(node.op_type == "SpaceToDepth" for node in graph.graph.node) == 1
    read = {name for node in graph.graph.node for name in node.input}
    assert {each.name for each in graph.graph.initializer} <= read


@pytest.mark.parametrize(("channels", "residual"), [(3, True), (1, False)])
def test_where_only_the_samples_can_be_moved_the_filter_stays_too(channels, residual):
    model = _edge(channels=channels, residual=residual)
    plain, samples = to_graph(model), _samples(model)
    graph, done = rewrite(plain, only=BOTH)
    assert len(done) == 1 and "SpaceToDepth" in done[0]
    np.testing.assert_array_equal(_run(graph, samples), _run(plain, samples))


def test_another_bit_depth_is_still_an_edit_of_the_graph():
    openvino = pytest.importorskip("openvino")  # ONNX Runtime shuffles no 16-bit samples
    model, core = _edge(), openvino.Core()
    plain, samples = to_graph(model), _samples(model, peak=1023)
    outputs = []
    for graph in (plain, rewrite(plain, only=BOTH)[0]):
        read = core.read_model(graph_bytes(with_bit_depth(graph, 10)))
        outputs.append(core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(samples)[0])
    assert outputs[0].dtype == np.uint16 and outputs[0].max() > 255
    assert np.abs(outputs[1].astype(int) - outputs[0]).max() <= 1
    assert np.mean(outputs[1] != outputs[0]) < 5e-3


class Skipping(nn.Module):
    """A network that reads the samples twice: shuffled and as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = nn.functional.pixel_shuffle(self.first(nn.functional.pixel_unshuffle(x, 2)), 2) + self.second(x)
        return made


def test_a_network_that_reads_the_samples_elsewhere_too_is_left_alone():
    plain = to_graph(_model(Skipping()))
    graph, done = rewrite(plain, only=BOTH)
    assert done == []
    assert graph == plain


def test_a_pixel_unshuffle_is_exported_as_one_operator_whatever_the_channels():
    for unshuffle, channels in itertools.product((2, 3), (1, 3)):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.PixelUnshuffle(unshuffle), nn.Conv2d(channels * unshuffle**2, 9, 1), nn.Conv2d(9, channels, 1)
        ).eval()
        picture = torch.rand(1, channels, 6, 12)
        nodes, weights, opset = network_nodes(network, channels=channels, multiple=unshuffle, source="x", target="y")
        kinds = [node.op_type for node in nodes]
        assert kinds == ["SpaceToDepth", *["Gather"] * (channels > 1), "Conv", "Conv"]
        helper, kind = onnx.helper, onnx.TensorProto.FLOAT
        values = [helper.make_tensor_value_info(name, kind, ["N", channels, None, None]) for name in ("x", "y")]
        made = helper.make_graph(nodes, "net", values[:1], values[1:], weights)
        session = onnxruntime.InferenceSession(
            helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()
        )
        (got,) = session.run(None, {"x": picture.numpy()})
        with torch.inference_mode():
            np.testing.assert_allclose(got, network(picture).numpy(), atol=1e-5)
