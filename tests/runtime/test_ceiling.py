from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import onnx
import pytest

from postfilter.runtime.backend import Options, backend_class, multiplies
from postfilter.runtime.ceiling import bandwidth_gbs, compute_tflops
from postfilter.runtime.ceiling_graphs import WORKS, Work, heavy_graph
from postfilter.runtime.macs import node_macs
from postfilter.runtime.manifest import EngineManifest

SMALL = tuple(
    replace(each, channels=64, depth=2, shape=(1, 1, 64, 64) if each.kind == "product" else (1, 1, 16, 16))
    for each in (WORKS[0], WORKS[2], WORKS[3])
)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("work", WORKS, ids=lambda work: f"{work.kind}{work.kernel}-{work.channels}")
def test_the_work_is_a_valid_graph_of_so_many_multiplications(
    work: Work, precision: Literal["fp32", "fp16", "int8"]
) -> None:
    graph = heavy_graph(work, precision)
    onnx.checker.check_model(graph, full_check=True)
    _, _, height, width = work.shape
    layer = height * width * work.kernel**2 * work.channels
    count = layer * work.depth if work.kind == "product" else layer * (work.depth * work.channels + 2)
    assert sum(node_macs(graph, work.shape).values()) == count


@pytest.mark.parametrize("work", SMALL, ids=lambda work: f"{work.kind}{work.kernel}")
def test_int8_work_runs_in_int8_on_openvino(work: Work, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(heavy_graph(work, "int8").SerializeToString())
    manifest = EngineManifest(
        model="ceiling", layout="luma", backend="openvino", backend_version="", device="CPU", precision="int8"
    )
    backend = backend_class("openvino")(tmp_path, manifest, Options(bit_depth=8, device="CPU"))
    layers = [layer for layer in backend.compile(work.shape).layers() if multiplies(layer.type)]
    backend.close()
    assert sum(layer.precision == "int8" for layer in layers) == work.depth


@pytest.mark.parametrize(
    ("backend", "device", "precisions"),
    [("openvino", "CPU", {"fp32", "int8"}), ("onnxruntime", "cpu", {"fp32"}), ("torch", "cpu", {"fp32", "bf16"})],
)
def test_a_backend_has_a_rate_at_each_precision(backend: str, device: str, precisions: set[str]) -> None:
    rates = compute_tflops(backend, device=device, seconds=0.03, works=SMALL)
    assert precisions <= set(rates) <= {"fp32", "fp16", "bf16", "int8"}
    # Any processor of this century, however busy, and no CPU at all.
    assert all(1e-5 < rate < 100 for rate in rates.values())


def test_int8_is_faster_than_fp32_where_the_processor_has_dot_products() -> None:
    """Four times the arithmetic in a register, so that even a busy machine shows it."""
    if not {"avx512_vnni", "avx_vnni", "asimddp"} & set(Path("/proc/cpuinfo").read_text().split()):
        pytest.skip("no int8 dot products on this processor")
    rates = compute_tflops("openvino", device="CPU", threads=1, seconds=0.3, works=WORKS[1:2])
    assert rates["int8"] > 1.5 * rates["fp32"]


def test_a_rate_is_measured_once() -> None:
    first = compute_tflops("openvino", device="CPU", seconds=0.03, works=SMALL)
    first.clear()
    again = compute_tflops("openvino", device="CPU", seconds=0.03, works=SMALL)
    assert again
    assert again == compute_tflops("openvino", device="CPU", seconds=0.03, works=SMALL)


def test_what_cannot_be_measured_here_is_left_out() -> None:
    assert compute_tflops("openvino", device="NPU.7", seconds=0.01, works=SMALL) == {}
    assert compute_tflops("tensorrt", device="dla:0", seconds=0.01, works=SMALL) == {}


def test_bandwidth() -> None:
    assert 0.1 < bandwidth_gbs(seconds=0.05) < 10_000
