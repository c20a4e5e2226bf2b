"""Tiny engines, made by hand the way export makes real ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from postfilter.runtime import EngineManifest, sha256_of_file, write_manifest


def build_graph(
    *, channels: int = 1, width: int = 8, stride: int = 2, seed: int = 0, size: tuple[int, int] | None = None
) -> onnx.ModelProto:
    """A small residual network: 5x5 convolution of stride 2, PReLU, 3x3, PReLU, 3x3 to 4C, depth to space."""
    random = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        scale = 0.5 / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array((random.standard_normal(shape) * scale).astype(np.float32), name)

    def scalar(name: str, value: float) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(value, dtype=np.float32), name)

    pads = {5: [2, 2, 2, 2], 3: [1, 1, 1, 1]}
    node = helper.make_node
    nodes = [
        node("Cast", ["samples"], ["codes"], name="to_float", to=TensorProto.FLOAT),
        node("Div", ["codes", "peak"], ["x"], name="normalise"),
        node("Conv", ["x", "w0", "b0"], ["c0"], name="conv0", kernel_shape=[5, 5], strides=[stride] * 2, pads=pads[5]),
        node("PRelu", ["c0", "slope"], ["p0"], name="prelu0"),
        node("Conv", ["p0", "w1", "b1"], ["c1"], name="conv1", kernel_shape=[3, 3], pads=pads[3]),
        node("PRelu", ["c1", "slope"], ["p1"], name="prelu1"),
        node("Conv", ["p1", "w2", "b2"], ["c2"], name="conv2", kernel_shape=[3, 3], pads=pads[3]),
        node("DepthToSpace", ["c2"], ["y"], name="shuffle", blocksize=stride, mode="CRD"),
        node("Mul", ["y", "peak"], ["scaled"], name="scale"),
        node("Add", ["codes", "scaled"], ["sum"], name="residual"),
        node("Round", ["sum"], ["rounded"], name="round"),
        node("Max", ["rounded", "zero"], ["floored"], name="floor"),
        node("Min", ["floored", "peak"], ["clipped"], name="clip"),
        node("Cast", ["clipped"], ["filtered"], name="to_samples", to=TensorProto.UINT8),
    ]
    initializers = [
        scalar("peak", 255.0),
        scalar("zero", 0.0),
        numpy_helper.from_array(np.full((1, 1, 1), 0.2, dtype=np.float32), "slope"),
        weight("w0", width, channels, 5, 5),
        weight("b0", width),
        weight("w1", width, width, 3, 3),
        weight("b1", width),
        weight("w2", channels * stride**2, width, 3, 3),
        weight("b2", channels * stride**2),
    ]
    shape: list[Any] = ["N", channels, "H", "W"] if size is None else [1, channels, size[1], size[0]]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("samples", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("filtered", TensorProto.UINT8, shape)],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_engine(folder: Path, graph: onnx.ModelProto, **fields: Any) -> Path:
    """An engine folder around a graph, as export leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, folder / "model.onnx")
    files = {file.name: sha256_of_file(file) for file in sorted(folder.iterdir()) if file.name != "engine.json"}
    content: dict[str, Any] = {
        "model": "tiny",
        "layout": "luma",
        "backend": "openvino",
        "backend_version": "0",
        "device": "CPU",
        "precision": "fp32",
        "size_multiple": 2,
        "halo": 6,
        "weights_sha256": hashlib.sha256(b"").hexdigest(),
        "graph_sha256": files["model.onnx"],
        "files": files,
        "cost": {"params": 1000, "kmac_per_px": 0.2},
    } | fields
    write_manifest(EngineManifest(**content), folder)
    return folder


@pytest.fixture
def make_engine(tmp_path: Path) -> Callable[..., Path]:
    """`make_engine(name="e", channels=1, size=None, **manifest_fields)` -> engine folder."""

    def make(name: str = "engine", *, channels: int = 1, size: tuple[int, int] | None = None, **fields: Any) -> Path:
        graph = build_graph(channels=channels, size=size)
        layout = "luma" if channels == 1 else "rgb"
        return write_engine(tmp_path / name, graph, layout=layout, size=size, **fields)

    return make
