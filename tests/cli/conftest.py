"""A tiny engine for commands that take one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from postfilter.runtime import EngineManifest, sha256_of_file, write_manifest


@pytest.fixture(scope="session")
def luma_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a luma engine that smooths with a 3x3 kernel."""
    folder = tmp_path_factory.mktemp("engine")
    node = helper.make_node
    nodes = [
        node("Cast", ["samples"], ["codes"], to=TensorProto.FLOAT),
        node("Div", ["codes", "peak"], ["x"]),
        node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Mul", ["y", "peak"], ["scaled"]),
        node("Round", ["scaled"], ["rounded"]),
        node("Min", ["rounded", "peak"], ["clipped"]),
        node("Cast", ["clipped"], ["filtered"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "smooth",
        [helper.make_tensor_value_info("samples", TensorProto.UINT8, ["N", 1, "H", "W"])],
        [helper.make_tensor_value_info("filtered", TensorProto.UINT8, ["N", 1, "H", "W"])],
        [
            numpy_helper.from_array(np.array(255.0, np.float32), "peak"),
            numpy_helper.from_array(np.full((1, 1, 3, 3), 1 / 9, np.float32), "w"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    digest = sha256_of_file(folder / "model.onnx")
    write_manifest(
        EngineManifest(
            model="smooth",
            layout="luma",
            backend="openvino",
            backend_version="0",
            device="CPU",
            precision="fp32",
            halo=1,
            graph_sha256=digest,
            files={"model.onnx": digest},
            cost={"kmac_per_px": 0.009},
        ),
        folder,
    )
    return folder
