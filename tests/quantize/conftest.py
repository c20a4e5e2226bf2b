"""Small graphs with random weights, shipped ones as the exporter makes them, and what runs them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from postfilter import models
from postfilter.export.graph import to_graph
from postfilter.export.passes.rewriting import rewrite
from postfilter.quality import jpeg_round_trip, luma_of
from postfilter.quantize import HEAD, TAIL, Ranges, recorded_ranges
from postfilter.quantize.trial import observe

MODELS = ("arcnn", "fastarcnn", "arcnn-luma", "fastarcnn-luma")


def _small_graph(*, scale: float = 0.05) -> onnx.ModelProto:
    """Samples -> codes / peak -> 3x3 convolution, PReLU, 3x3 convolution -> * peak + codes -> samples."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.standard_normal(shape) * scale).astype(np.float32), name)

    nodes = [
        helper.make_node("Cast", ["samples"], ["codes"], name=f"{HEAD}cast", to=TensorProto.FLOAT),
        helper.make_node("Div", ["codes", "peak"], ["normalised"], name=f"{HEAD}normalise"),
        helper.make_node("Conv", ["normalised", "w1", "b1"], ["one"], name="one", pads=[1] * 4),
        helper.make_node("PRelu", ["one", "slope"], ["two"], name="two"),
        helper.make_node("Conv", ["two", "w2"], ["network"], name="three", pads=[1] * 4),
        helper.make_node("Mul", ["network", "peak"], ["scaled"], name=f"{TAIL}scale"),
        helper.make_node("Add", ["codes", "scaled"], ["restored"], name=f"{TAIL}add"),
        helper.make_node("Round", ["restored"], ["rounded"], name=f"{TAIL}round"),
        helper.make_node("Clip", ["rounded", "zero", "peak"], ["clipped"], name=f"{TAIL}clip"),
        helper.make_node("Cast", ["clipped"], ["filtered"], name=f"{TAIL}cast", to=TensorProto.UINT8),
    ]
    constants = [
        numpy_helper.from_array(np.array(255, np.float32), "peak"),
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(np.full((1, 1, 1), 0.25, np.float32), "slope"),
        weight("w1", 8, 1, 3, 3),
        weight("b1", 8),
        weight("w2", 1, 8, 3, 3),
    ]
    shape = ["N", 1, "H", "W"]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("samples", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("filtered", TensorProto.UINT8, shape)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _run(graph: onnx.ModelProto, samples: np.ndarray, output: str = "filtered") -> np.ndarray:
    shown = onnx.ModelProto()
    shown.CopyFrom(graph)
    if output != "filtered":
        shown.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([output], {"samples": samples})[0]


@pytest.fixture(scope="session")
def small_graph() -> Callable[..., onnx.ModelProto]:
    """`small_graph(scale=0.05)`: two convolutions with random weights, padded, the second without a bias."""
    return _small_graph


@pytest.fixture(scope="session")
def run() -> Callable[..., np.ndarray]:
    """`run(graph, samples)`, in ONNX Runtime; `run(graph, samples, "network")` shows another float value."""
    return _run


@pytest.fixture(scope="session")
def widest() -> Callable[[onnx.ModelProto, NDArray[np.uint8]], Ranges]:
    """Ranges up to the largest value seen, what most tools would take."""

    def of(graph: onnx.ModelProto, crops: NDArray[np.uint8]) -> Ranges:
        extremes, _ = observe(graph, crops)
        steps = {value: max(-low, high) / 127 for value, (low, high) in extremes.items()}
        return Ranges(model="m", weights_sha256="0", steps=steps, source="largest", frames=len(crops))

    return of


@pytest.fixture(scope="session")
def shipped() -> Callable[[str], tuple[onnx.ModelProto, Ranges]]:
    """`shipped("arcnn")`: the rewritten fp32 graph of the shipped weights, and their recorded ranges."""
    made: dict[str, tuple[onnx.ModelProto, Ranges]] = {}

    def of(name: str) -> tuple[onnx.ModelProto, Ranges]:
        if name not in made:
            model = models.load(name)
            ranges = recorded_ranges(model.card, weights_sha256=model.weights_sha256)
            made[name] = rewrite(to_graph(model))[0], ranges
        return made[name]

    return of


@pytest.fixture(scope="session")
def coded(photograph: NDArray[np.uint8]) -> Callable[[int], NDArray[np.uint8]]:
    """`coded(channels)`: a photograph as JPEG shows it, uint8 [1, C, 512, 512]."""
    decoded = jpeg_round_trip(photograph, quality=20)
    luma, rgb = luma_of(decoded)[None, None], decoded.transpose(2, 0, 1)[None]
    return lambda channels: np.ascontiguousarray(luma if channels == 1 else rgb)
