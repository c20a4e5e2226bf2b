"""Tiny engines, made by hand the way export makes real ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from postfilter.runtime import EngineManifest, sha256_of_file, with_bit_depth, write_manifest


def build_graph(
    *,
    channels: int = 1,
    width: int = 8,
    stride: int = 2,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    further: int = 0,
) -> onnx.ModelProto:
    """A small residual network: 5x5 convolution of stride 2, PReLU, 3x3, PReLU, 3x3 to 4C, depth to space.

    With `further` inputs the convolution reads so many channels more, which do not come out.
    """
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
        node("Slice", ["codes", "first", "end", "axis"], ["picture"], name="picture"),
        node("Add", ["picture", "scaled"], ["sum"], name="residual"),
        node("Round", ["sum"], ["rounded"], name="round"),
        node("Max", ["rounded", "zero"], ["floored"], name="floor"),
        node("Min", ["floored", "peak"], ["clipped"], name="clip"),
        node("Cast", ["clipped"], ["filtered"], name="to_samples", to=TensorProto.UINT8),
    ]
    initializers = [
        scalar("peak", 255.0),
        scalar("zero", 0.0),
        numpy_helper.from_array(np.full((1, 1, 1), 0.2, dtype=np.float32), "slope"),
        weight("w0", width, channels + further, 5, 5),
        weight("b0", width),
        weight("w1", width, width, 3, 3),
        weight("b1", width),
        weight("w2", channels * stride**2, width, 3, 3),
        weight("b2", channels * stride**2),
    ]
    if further:
        initializers += [
            numpy_helper.from_array(np.array([value]), name)
            for name, value in (("first", 0), ("end", channels), ("axis", 1))
        ]
    else:
        del nodes[9]
        nodes[9].input[0] = "codes"
    frames, *sides = ["N", "H", "W"] if size is None else [1, size[1], size[0]]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("samples", TensorProto.UINT8, [frames, channels + further, *sides])],
        [helper.make_tensor_value_info("filtered", TensorProto.UINT8, [frames, channels, *sides])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def save_program(graph: onnx.ModelProto, path: Path, *, channels: int, stride: int = 2) -> None:
    """The same network as `build_graph` made, as a program of torch.export."""
    import torch
    import torch.nn.functional as F

    from postfilter.models.sample_filter import SampleFilter

    # Copied: the arrays of onnx are read-only, which torch warns of.
    values = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.graph.initializer}

    class Tiny(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in ("w0", "b0", "w1", "b1", "w2", "b2"):
                self.register_parameter(name, torch.nn.Parameter(values[name], requires_grad=False))
            self.slope = torch.nn.Parameter(values["slope"].reshape(1), requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = F.prelu(F.conv2d(x, self.w0, self.b0, stride=stride, padding=2), self.slope)
            x = F.prelu(F.conv2d(x, self.w1, self.b1, padding=1), self.slope)
            return F.pixel_shuffle(F.conv2d(x, self.w2, self.b2, padding=1), stride)

    sides = {axis: stride * torch.export.Dim(name, min=1, max=4096) for axis, name in ((2, "h"), (3, "w"))}
    shape = {0: torch.export.Dim("n", min=1, max=4096), **sides}
    program = torch.export.export(
        SampleFilter(Tiny(), residual=True).eval(),
        (torch.zeros(2, channels, 24 * stride, 40 * stride), torch.tensor(255.0)),
        dynamic_shapes={"samples": shape, "peak": None},
    )
    torch.export.save(program, path)


def write_engine(folder: Path, graph: onnx.ModelProto, **fields: Any) -> Path:
    """An engine folder around a graph, as export leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, folder / "model.onnx")
    if fields.get("backend") == "torch":
        save_program(graph, folder / "model.pt2", channels=1 if fields["layout"] == "luma" else 3)
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
    """`make_engine(name, channels=1, size=None, **manifest_fields)` -> engine folder."""

    def make(name: str = "engine", *, channels: int = 1, size: tuple[int, int] | None = None, **fields: Any) -> Path:
        graph = build_graph(channels=channels, size=size)
        layout = "luma" if channels == 1 else "rgb"
        device = "CPU" if fields.get("backend", "openvino") == "openvino" else "cpu"
        return write_engine(tmp_path / name, graph, **({"layout": layout, "size": size, "device": device} | fields))

    return make


@pytest.fixture(scope="session")
def engines_of_each_backend(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Backend -> an engine folder, all of one luma network; made once, since torch.export takes seconds."""
    folder = tmp_path_factory.mktemp("engines")
    devices = {"openvino": "CPU", "onnxruntime": "cpu", "torch": "cpu"}
    return {
        backend: write_engine(folder / backend, build_graph(), layout="luma", backend=backend, device=device)
        for backend, device in devices.items()
    }


@pytest.fixture(scope="session")
def reference() -> Callable[..., NDArray[Any]]:
    """`reference(engine_folder, planes, bit_depth=8)`: ONNX's own interpreter, numpy below, on padded planes."""

    def run(folder: Path, planes: NDArray[Any], *, bit_depth: int = 8, multiple: int = 2) -> NDArray[Any]:
        height, width = planes.shape[2:]
        padded = np.pad(planes, ((0, 0), (0, 0), (0, -height % multiple), (0, -width % multiple)), mode="edge")
        graph = with_bit_depth(onnx.load(folder / "model.onnx"), bit_depth)
        output: NDArray[Any] = ReferenceEvaluator(graph).run(None, {"samples": padded})[0]
        return output[:, :, :height, :width]

    return run


@pytest.fixture
def planes() -> Callable[..., NDArray[Any]]:
    """`planes(width, height, bit_depth=8, …)`: seeded noise, samples of every value."""

    def make(
        width: int, height: int, *, bit_depth: int = 8, channels: int = 1, frames: int = 1, seed: int = 0
    ) -> NDArray[Any]:
        random = np.random.default_rng(seed)
        kind = np.uint8 if bit_depth == 8 else np.uint16
        return random.integers(0, 2**bit_depth, (frames, channels, height, width)).astype(kind)

    return make


@pytest.fixture(scope="session")
def tiny_graph() -> Callable[..., onnx.ModelProto]:
    """`tiny_graph(channels=1, …)`: the graph inside the engines that `make_engine` makes."""
    return build_graph
