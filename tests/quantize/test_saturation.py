"""Weights of 7 bits, for processors that add products of bytes in 16 bits."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from postfilter.quantize import Ranges, to_int8

RUN = """
import sys
import numpy as np
import openvino
core = openvino.Core()
model = core.compile_model(core.read_model(sys.argv[1]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
np.save(sys.argv[3], model(np.load(sys.argv[2]))[0])
"""
RANGES = Ranges(model="m", weights_sha256="0", steps={"two": 0.0015}, source="", frames=1)


@pytest.mark.parametrize(("bits", "most"), [(8, 127), (7, 63)])
def test_weights_have_as_many_steps_as_bits_allow(
    small_graph: Callable[..., onnx.ModelProto], bits: int, most: int
) -> None:
    graph = to_int8(small_graph(), RANGES, unsigned=True, weight_bits=bits)
    weights = [numpy_helper.to_array(each) for each in graph.graph.initializer if each.name.endswith("weight.int8")]
    assert len(weights) == 2
    assert max(np.abs(each.astype(int)).max() for each in weights) == most


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86 alone adds bytes so")
def test_seven_bits_do_not_saturate_without_vnni(
    small_graph: Callable[..., onnx.ModelProto], run: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    plain = small_graph()
    # Bright samples and weights alike in all channels give the second layer large bytes, and sums of one sign.
    for name, value in (("w1", 0.02), ("b1", 0.0), ("w2", -0.01)):
        each = next(each for each in plain.graph.initializer if each.name == name)
        each.CopyFrom(numpy_helper.from_array(np.full(each.dims, value, np.float32), name))
    activation = next(node for node in plain.graph.node if node.op_type == "PRelu")
    activation.op_type = "Relu"
    del activation.input[1:]
    samples = np.random.default_rng(0).integers(200, 256, (1, 1, 40, 40), dtype=np.uint8)
    np.save(tmp_path / "samples.npy", samples)
    wanted, off = run(plain, samples).astype(int), {}
    for bits in (8, 7):
        onnx.save(to_int8(plain, RANGES, unsigned=True, weight_bits=bits), tmp_path / "model.onnx")
        told = [str(tmp_path / name) for name in ("model.onnx", "samples.npy", "filtered.npy")]
        # oneDNN then takes the kernels of processors without VNNI.
        environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
        subprocess.run([sys.executable, "-c", RUN, *told], check=True, env=environment, timeout=120)
        off[bits] = np.abs(np.load(tmp_path / "filtered.npy").astype(int) - wanted).mean()
    assert off[7] < 0.5 < 2 < off[8]
