"""Which sample is where in what a network reads, followed through the operators and checked by running them."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from postfilter.export import rewrite, to_graph
from postfilter.models import Model, ModelCard
from postfilter.models.edge import Edge
from postfilter.quantize import calibrate, lint, network_inputs, to_int8
from postfilter.quantize.int8 import INPUT_STEP
from postfilter.quantize.network_input import Origin, sample_covariance


@functools.cache
def _plain(channels: int, unshuffle: int, inputs: tuple[str, ...] = ("qp",)) -> onnx.ModelProto:
    torch.manual_seed(2)
    network = Edge(channels, width=8, depth=3, unshuffle=unshuffle, inputs=inputs).eval().requires_grad_(False)
    card = ModelCard(
        name="net",
        architecture="",
        layout="luma" if channels == 1 else "rgb",
        residual=True,
        size_multiple=unshuffle,
        halo=8,
        summary="",
        inputs=inputs,
    )
    return to_graph(Model(card=card, network=network, weights_sha256=""))


def _graph(*, channels: int = 1, unshuffle: int = 2, passes: tuple[str, ...] = ()) -> onnx.ModelProto:
    return rewrite(_plain(channels, unshuffle), only=passes)[0]


def _read_by_first(graph: onnx.ModelProto) -> str:
    return next(node.input[0] for node in graph.graph.node if node.op_type == "Conv")


@pytest.mark.parametrize("passes", [(), ("byte-samples", "byte-codes")])
@pytest.mark.parametrize(("channels", "unshuffle"), [(1, 2), (3, 2)])
def test_each_channel_begins_where_it_says(channels, unshuffle, passes):
    graph = _graph(channels=channels, unshuffle=unshuffle, passes=passes)
    name = _read_by_first(graph)
    origin = network_inputs(graph)[name]
    assert origin.steps == (unshuffle, unshuffle)
    assert origin.picture == channels
    assert len(set(origin.places)) == len(origin.places) == channels * unshuffle**2 + 1
    shown = onnx.ModelProto()
    shown.CopyFrom(graph)
    shown.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    samples = np.random.default_rng(0).integers(0, 256, (1, channels + 1, 16, 24), dtype=np.uint8)
    read = ReferenceEvaluator(shown).run([name], {"samples": samples})[0]
    for channel, (source, y, x) in enumerate(origin.places):
        wanted = samples[0, source, y::unshuffle, x::unshuffle] / np.float32(255)
        np.testing.assert_allclose(read[0, channel], wanted, rtol=1e-6)


def test_what_is_computed_is_no_input_of_the_network():
    graph = _graph()
    assert "relu.relu1" not in network_inputs(graph)
    assert "codes" not in network_inputs(graph)


def test_a_further_input_is_one_value_for_a_kernel_and_has_nothing_to_do_with_the_picture():
    origin = Origin(steps=(2, 2), places=((0, 0, 0), (0, 1, 1), (1, 0, 0)), picture=1)
    covariance = sample_covariance(origin, 2, 1)
    assert covariance[0, 1] == pytest.approx(0.9**2)  # one position is two samples
    assert covariance[0, 2] == pytest.approx(0.9**2)  # a line and a column apart
    assert covariance[1, 2] == pytest.approx(0.9**2)
    assert covariance[4, 5] == pytest.approx(1)
    assert not covariance[:4, 4:].any()
    assert np.linalg.eigvalsh(covariance).min() > 0


@pytest.mark.parametrize("passes", [(), ("byte-samples", "byte-codes")])
def test_frames_before_and_after_go_together_with_the_frame(passes):
    graph = rewrite(_plain(1, 2, ("previous", "next", "qp")), only=passes)[0]
    origin = network_inputs(graph)[_read_by_first(graph)]
    assert origin.pictures == {0, 1, 2}  # and not the QP
    covariance = sample_covariance(origin, 1, 1)
    at = {place: index for index, place in enumerate(origin.places)}
    frame, previous, following, qp = (at[channel, 0, 0] for channel in range(4))
    assert covariance[frame, previous] == covariance[previous, following] == pytest.approx(0.9)
    assert not covariance[qp, [frame, previous, following]].any()
    assert np.linalg.eigvalsh(covariance).min() > 0


@pytest.mark.parametrize("passes", [(), ("byte-samples", "byte-codes")])
def test_shuffled_samples_are_exact_in_int8_and_need_no_range(passes):
    graph = _graph(passes=passes)
    crops = np.random.default_rng(0).integers(0, 256, (2, 2, 48, 48), dtype=np.uint8)
    ranges = calibrate(graph, crops, model="m", weights_sha256="", source="", frames=2)
    assert set(ranges.steps) == {"relu.relu1", "relu.relu2"}
    quantized = to_int8(graph, ranges)
    assert lint(quantized) == []
    first = next(node for node in quantized.graph.node if node.op_type == "QuantizeLinear")
    steps = {each.name: onnx.numpy_helper.to_array(each) for each in quantized.graph.initializer}
    assert steps[first.input[1]] == pytest.approx(INPUT_STEP)
    run, wanted = (
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, {"samples": crops})[0].astype(int)
        for each in (quantized, graph)
    )
    assert np.abs(run - wanted).mean() < 0.25 * np.abs(wanted - crops[:, :1].astype(int)).mean()


def test_what_is_never_negative_keeps_more_as_uint8_where_the_backend_takes_it():
    graph = _graph(passes=("byte-samples", "byte-codes"))
    crops = np.random.default_rng(0).integers(0, 256, (2, 2, 48, 48), dtype=np.uint8)
    ranges = calibrate(graph, crops, model="m", weights_sha256="", source="", frames=2)
    signed, unsigned = to_int8(graph, ranges), to_int8(graph, ranges, unsigned=True)
    assert lint(unsigned, unsigned=True) == []
    assert any("uint8" in each for each in lint(unsigned))
    kinds = {node.op_type for node in unsigned.graph.node}
    assert "Pad" not in kinds and "Sub" not in kinds  # nothing is centred
    weights = [each for each in unsigned.graph.initializer if each.name.endswith("weight.int8")]
    assert {each.data_type for each in weights} == {onnx.TensorProto.INT8}

    def network_output(each: onnx.ModelProto) -> np.ndarray:
        shown = onnx.ModelProto()
        shown.CopyFrom(each)
        shown.graph.output.append(onnx.helper.make_tensor_value_info("layers.2", onnx.TensorProto.FLOAT, None))
        return onnxruntime.InferenceSession(shown.SerializeToString()).run(["layers.2"], {"samples": crops})[0]

    wanted = network_output(graph)
    errors = [np.mean((network_output(each) - wanted) ** 2) for each in (signed, unsigned)]
    assert errors[1] < 0.8 * errors[0]
