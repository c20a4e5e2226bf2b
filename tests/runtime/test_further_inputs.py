"""Engines that read more than the picture: on every backend, in pieces, and with what is missing or wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from postfilter.errors import ArtefactError, InputError
from postfilter.runtime import (
    EngineManifest,
    StreamItem,
    TileReuse,
    load_engine,
    read_manifest,
    sha256_of_file,
    write_manifest,
)
from postfilter.runtime.further_inputs import FurtherInput, pack

QP = FurtherInput(name="qp", maximum=51, default=37)
KERNEL = np.zeros((1, 2, 3, 3), np.float32)
KERNEL[0, 0] = [[0.1, -0.2, 0.1], [0.2, -0.4, 0.2], [0.1, -0.2, 0.1]]
KERNEL[0, 1, 1, 1] = 0.25


def graph() -> onnx.ModelProto:
    """A residual convolution over the picture and the QP."""
    node = helper.make_node
    nodes = [
        node("Cast", ["samples"], ["codes"], to=TensorProto.FLOAT),
        node("Div", ["codes", "peak"], ["x"]),
        node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[1] * 4),
        node("Mul", ["y", "peak"], ["scaled"]),
        node("Slice", ["codes", "first", "end", "axis"], ["picture"]),
        node("Add", ["picture", "scaled"], ["sum"]),
        node("Round", ["sum"], ["rounded"]),
        node("Max", ["rounded", "zero"], ["floored"]),
        node("Min", ["floored", "peak"], ["clipped"]),
        node("Cast", ["clipped"], ["filtered"], to=TensorProto.UINT8),
    ]
    values = {"peak": np.float32(255), "zero": np.float32(0), "w": KERNEL}
    values |= {name: np.array([value]) for name, value in (("first", 0), ("end", 1), ("axis", 1))}
    made = helper.make_graph(
        nodes,
        "steered",
        [helper.make_tensor_value_info("samples", TensorProto.UINT8, ["N", 2, "H", "W"])],
        [helper.make_tensor_value_info("filtered", TensorProto.UINT8, ["N", 1, "H", "W"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def save_program(path: Path) -> None:
    import torch

    from postfilter.models.sample_filter import SampleFilter

    network = torch.nn.Conv2d(2, 1, 3, padding=1, bias=False)
    network.weight = torch.nn.Parameter(torch.from_numpy(KERNEL), requires_grad=False)
    sides = {axis: torch.export.Dim(name, min=1, max=4096) for axis, name in ((0, "n"), (2, "h"), (3, "w"))}
    program = torch.export.export(
        SampleFilter(network, residual=True).eval(),
        (torch.zeros(2, 2, 24, 40), torch.tensor(255.0)),
        dynamic_shapes={"samples": sides, "peak": None},
    )
    torch.export.save(program, path)


def write(folder: Path, *, backend: str = "openvino", inputs: tuple[FurtherInput, ...] = (QP,)) -> Path:
    folder.mkdir(parents=True)
    onnx.save(graph(), folder / "model.onnx")
    if backend == "torch":
        save_program(folder / "model.pt2")
    files = {file.name: sha256_of_file(file) for file in sorted(folder.iterdir())}
    manifest = EngineManifest(
        model="steered",
        layout="luma",
        backend=backend,
        backend_version="0",
        device="CPU" if backend == "openvino" else "cpu",
        precision="fp32",
        halo=1,
        inputs=inputs,
        graph_sha256=files["model.onnx"],
        files=files,
    )
    write_manifest(manifest, folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("steered")
    return {backend: write(folder / backend, backend=backend) for backend in ("openvino", "onnxruntime", "torch")}


def expected(planes: NDArray[Any], qp: NDArray[Any], *, bit_depth: int = 8) -> NDArray[Any]:
    """The filter in numpy; `qp` is [N, H, W]."""
    peak = 2**bit_depth - 1
    codes = np.concatenate([planes, np.rint(qp[:, None] * peak / 51)], axis=1).astype(np.float64)
    height, width = planes.shape[2:]
    padded = np.pad(codes, ((0, 0), (0, 0), (1, 1), (1, 1)))
    total = sum(
        KERNEL[0, channel, y, x] * padded[:, channel, y : y + height, x : x + width]
        for channel in range(2)
        for y in range(3)
        for x in range(3)
    )
    return np.clip(np.rint(planes[:, 0] + total), 0, peak)[:, None]


def spread(blocks: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    return blocks.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "torch"])
@pytest.mark.parametrize("bit_depth", [8, 10])
def test_every_backend_reads_the_qp_of_each_block(
    folders: dict[str, Path], planes: Callable[..., NDArray[Any]], backend: str, bit_depth: int
) -> None:
    samples = planes(37, 35, frames=2, bit_depth=bit_depth)
    blocks = np.random.default_rng(1).integers(0, 52, (2, 3, 3))
    with load_engine(folders[backend], bit_depth=bit_depth) as engine:
        assert engine.inputs == (QP,)
        assert engine.channels == 1
        filtered = engine(samples, inputs={"qp": blocks})
        assert filtered.shape == samples.shape
        assert np.abs(filtered - expected(samples, spread(blocks, 35, 37), bit_depth=bit_depth)).max() <= 1
        # The same for each sample, the same for the frame, and nothing given.
        np.testing.assert_array_equal(engine(samples, inputs={"qp": spread(blocks, 35, 37)}), filtered)
        np.testing.assert_array_equal(engine(samples), engine(samples, inputs={"qp": 37}))
        assert not np.array_equal(engine(samples), engine(samples, inputs={"qp": 22.0}))


def test_pieces_cut_the_qp_along(folders: dict[str, Path], planes: Callable[..., NDArray[Any]]) -> None:
    samples = planes(70, 50)
    blocks = np.random.default_rng(2).integers(0, 52, (1, 4, 5))
    with load_engine(folders["openvino"]) as whole, load_engine(folders["openvino"], piece=(24, 16)) as cut:
        assert cut.piece_for(width=70, height=50) == (24, 16)
        np.testing.assert_array_equal(cut(samples, inputs={"qp": blocks}), whole(samples, inputs={"qp": blocks}))


def test_a_stream_reads_the_qp_too_and_a_tile_whose_qp_changed_is_filtered_again(
    folders: dict[str, Path], planes: Callable[..., NDArray[Any]]
) -> None:
    samples = planes(450, 330)
    qp = np.full((1, 21, 29), 30)
    qps = [qp, qp, qp.copy(), qp + 5, qp + 5]
    qps[2][0, 3, 4] = 10
    items = [StreamItem(planes=samples, inputs={"qp": each}) for each in qps]
    reuse, shares = TileReuse(), []
    with load_engine(folders["openvino"]) as engine:
        plain = [engine(samples, inputs={"qp": each}) for each in qps]
        for output, wanted in zip(engine.stream(items, reuse=reuse), plain, strict=True):
            np.testing.assert_array_equal(output, wanted)
            shares.append(reuse.last.reused / reuse.last.total)
        assert all(map(np.array_equal, engine.stream(items), plain))
    assert not np.array_equal(plain[1], plain[2])
    assert [shares[0], shares[1], shares[3], shares[4]] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"grain": 3}, "got the input grain; this engine reads qp: leave out"),
        ({"qp": np.zeros((1, 2, 2))}, r"got qp as float64 \(1, 2, 2\).*\(1, 1, 2\)"),
        ({"qp": np.nan}, "not finite"),
        ({"qp": "high"}, "give a number"),
    ],
)
def test_values_that_do_not_fit_are_refused(
    folders: dict[str, Path], planes: Callable[..., NDArray[Any]], inputs: dict[str, Any], message: str
) -> None:
    with load_engine(folders["openvino"]) as engine, pytest.raises(InputError, match=message):
        engine(planes(32, 16), inputs=inputs)


def test_without_a_default_the_input_is_asked_for(tmp_path: Path, planes: Callable[..., NDArray[Any]]) -> None:
    folder = write(tmp_path / "engine", inputs=(FurtherInput(name="qp", maximum=51),))
    with load_engine(folder) as engine, pytest.raises(InputError, match="reads qp beside the picture, and got none"):
        engine(planes(32, 16))


def test_an_engine_of_the_picture_alone_takes_no_inputs(
    make_engine: Callable[..., Path], planes: Callable[..., NDArray[Any]]
) -> None:
    with load_engine(make_engine()) as engine:
        assert engine.inputs == ()
        with pytest.raises(InputError, match="reads the picture alone"):
            engine(planes(32, 16), inputs={"qp": 30})


def test_the_manifest_says_what_is_read_and_refuses_what_cannot_be_fed(tmp_path: Path) -> None:
    folder = write(tmp_path / "engine")
    assert read_manifest(folder).inputs == (QP,)
    content = json.loads((folder / "engine.json").read_text())
    assert content["inputs"] == [{"name": "qp", "maximum": 51, "default": 37, "kind": "plane"}]
    for wrong, message in (
        ([{**content["inputs"][0], "kind": "embedding"}], "of a kind 'embedding'"),
        ([{"name": "qp"}], "lacks a name, a positive maximum"),
        ("qp", "no list"),
        (content["inputs"] * 2, "two inputs have one name"),
    ):
        (folder / "engine.json").write_text(json.dumps({**content, "inputs": wrong}))
        with pytest.raises(ArtefactError, match=message):
            read_manifest(folder)
    del content["inputs"]
    (folder / "engine.json").write_text(json.dumps(content))
    assert read_manifest(folder).inputs == ()


def test_values_outside_the_range_are_taken_to_its_end() -> None:
    planes = np.zeros((1, 1, 16, 16), np.uint8)
    for value, code in ((-6, 0), (0, 0), (1, 5), (51, 255), (60, 255)):
        assert set(pack(planes, (QP,), {"qp": value}, peak=255)[0, 1].ravel().tolist()) == {code}
