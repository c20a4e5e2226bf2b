"""Engines made elsewhere: what cannot run here is refused before its backend is imported, with the reason."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postfilter.runtime import load_engine, read_manifest, sha256_of_file
from postfilter.runtime.compatibility import precision_warning

BUILT_FOR = {
    "tensorrt": "10.3.0",
    "gpu": "Some GPU",
    "compute_capability": "8.7",
    "driver": "540.4",
    "cuda": "12.6",
    "compatibility": "none",
    "version_compatible": False,
}
LOADING = """
import json, sys
import_path, folder = sys.argv[1:]
sys.path.insert(0, import_path)
from postfilter.errors import PostfilterError
from postfilter.runtime import cuda_probe, load_engine
from postfilter.runtime.cuda_probe import CudaDevice, CudaProbe
gpu = CudaDevice(index=0, name="Some GPU", compute_capability="8.7", memory_mb=8192)
cuda_probe.probe_cuda.cache_clear()
probe = CudaProbe(devices=(gpu,), driver="540.4", cuda="12.6")
cuda_probe.probe_cuda = lambda: probe
from postfilter.runtime import trt_target
trt_target.probe_cuda = cuda_probe.probe_cuda
try:
    load_engine(folder)
    told = ""
except PostfilterError as error:
    told = f"{type(error).__name__}: {error}"
print(json.dumps([told, "postfilter.runtime.trt" in sys.modules or "postfilter.runtime.pt" in sys.modules]))
"""


def change(folder: Path, **keys: Any) -> Path:
    file = folder / "engine.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))
    return folder


@pytest.fixture
def load_elsewhere(tmp_path: Path) -> Callable[..., tuple[str, bool]]:
    """Load an engine on a machine with one GPU and a package of the backend at `version`; tell the error, and whether
    the backend or the package was imported. The latter notes it, and fails."""

    def load(folder: Path, backend: str, version: str) -> tuple[str, bool]:
        place = tmp_path / "installed"
        (place / f"{backend}-{version}.dist-info").mkdir(parents=True)
        (place / f"{backend}-{version}.dist-info" / "METADATA").write_text(f"Name: {backend}\nVersion: {version}\n")
        (place / f"{backend}.py").write_text(
            "import pathlib\npathlib.Path(__file__).with_name('noted').touch()\nraise ImportError('this was imported')"
        )
        command = [sys.executable, "-c", LOADING, str(place), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        told, imported = json.loads(done.stdout)
        return told, imported or (place / "noted").exists()

    return load


@pytest.fixture
def plan(make_engine: Callable[..., Path]) -> Path:
    """An engine with a plan for the one GPU of `load_elsewhere`, on this platform."""
    folder = make_engine("plan")
    (folder / "model.plan").write_bytes(b"a plan")
    files = {name: sha256_of_file(folder / name) for name in ("model.onnx", "model.plan")}
    from postfilter.runtime.machine import platform_name

    built_for = BUILT_FOR | {"platform": platform_name()}
    return change(folder, backend="tensorrt", device="cuda:0", files=files, built_for=built_for)


@pytest.mark.parametrize(
    ("edit", "version", "reason"),
    [
        ({"compute_capability": "8.9"}, "10.3.0", "compute capability 8.9), and this machine has Some GPU"),
        ({"tensorrt": "10.7.0"}, "10.3.0", "built with TensorRT 10.7.0, and this machine has 10.3.0"),
        ({}, "11.2.0", "built with TensorRT 10.3.0, and this machine has 11.2.0"),
        ({"platform": "linux-riscv64"}, "10.3.0", "built for linux-riscv64"),
        ({"gpu": "Another GPU"}, "10.3.0", "for the model Another GPU"),
        ({"gpu": 7}, "10.3.0", "does not tell gpu"),
    ],
)
def test_a_plan_for_another_machine(
    edit: dict[str, Any], version: str, reason: str, plan: Path, load_elsewhere: Callable[..., tuple[str, bool]]
) -> None:
    change(plan, built_for=json.loads((plan / "engine.json").read_text())["built_for"] | edit)
    told, imported = load_elsewhere(plan, "tensorrt", version)
    assert told.startswith("ArtefactError") and reason in told and "make it again" in told
    assert not imported


@pytest.mark.parametrize("edit", [{}, {"version_compatible": True, "tensorrt": "10.1.0"}])
def test_a_plan_for_this_machine_gets_to_its_backend(
    edit: dict[str, Any], plan: Path, load_elsewhere: Callable[..., tuple[str, bool]]
) -> None:
    change(plan, built_for=json.loads((plan / "engine.json").read_text())["built_for"] | edit)
    told, imported = load_elsewhere(plan, "tensorrt", "10.3.0")
    assert imported
    assert told.startswith("MissingDependencyError") and "this was imported" in told


def test_a_schema_of_the_future(plan: Path, load_elsewhere: Callable[..., tuple[str, bool]]) -> None:
    told, imported = load_elsewhere(change(plan, schema_version=2), "tensorrt", "10.3.0")
    assert "written by a newer postfilter" in told and not imported


@pytest.mark.parametrize(
    ("saved", "here", "refused"),
    [
        ("2.13.0+cpu", "2.6.0", True),
        ("3.0.0", "2.13.0", True),
        ("2.6.0", "2.6.1+cu126", False),
        ("2.6.1", "2.6.0", False),
        ("2.6.0", "2.13.0", False),
        ("", "2.6.0", False),
    ],
)
def test_a_program_of_torch(
    saved: str,
    here: str,
    refused: bool,
    make_engine: Callable[..., Path],
    load_elsewhere: Callable[..., tuple[str, bool]],
) -> None:
    folder = make_engine()
    (folder / "model.pt2").write_bytes(b"a program")
    files = {name: sha256_of_file(folder / name) for name in ("model.onnx", "model.pt2")}
    change(folder, backend="torch", device="cpu", backend_version=saved, files=files)
    told, imported = load_elsewhere(folder, "torch", here)
    assert imported != refused
    if refused:
        assert f"saved by torch {saved}, and this machine's torch {here} is older" in told
    else:
        assert told.startswith("MissingDependencyError") and "this was imported" in told


def test_a_precision_that_is_not_here_is_told_and_the_engine_runs(
    make_engine: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    import openvino

    here = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    absent = next(each for each in ("fp16", "bf16") if each.upper() not in here)
    with caplog.at_level(logging.WARNING):
        with load_engine(make_engine("as verified", precision_run="fp32")) as engine:
            assert engine.execution(width=16, height=16).precision_run == "fp32"
        assert caplog.text == ""
        with load_engine(make_engine("elsewhere", precision="fp16", precision_run=absent)) as engine:
            assert engine.execution(width=16, height=16).precision_run != absent
    assert f"verified in {absent}, which this machine's device does not compute in" in caplog.text


@pytest.mark.parametrize(
    ("ran", "capabilities", "warned"),
    [
        ("bf16", ["FP32", "INT8"], True),
        ("bf16", ["FP32", "BF16"], False),
        ("fp16", ["FP32", "BF16"], True),
        ("int8", ["FP32", "FP16"], True),
        ("int8", ["FP32", "INT8"], False),
        # Every device computes in it, and the engine asks for it.
        ("fp32", ["BF16"], False),
        ("unknown", ["FP32"], False),
        ("", ["FP32"], False),
    ],
)
def test_which_precisions_are_told(
    ran: str, capabilities: list[str], warned: bool, make_engine: Callable[..., Path]
) -> None:
    manifest = read_manifest(make_engine(precision="fp16", precision_run=ran))
    assert (precision_warning(manifest, capabilities) is not None) == warned


@pytest.mark.parametrize(("bits", "saturating", "warned"), [(8, True, True), (8, False, False), (7, True, False)])
def test_weights_of_eight_bits_are_warned_of_where_their_sums_saturate(
    bits: int, saturating: bool, warned: bool, make_engine: Callable[..., Path]
) -> None:
    manifest = read_manifest(make_engine(precision="int8", quantization={"weight_bits": bits}))
    warning = precision_warning(manifest, ["FP32", "INT8"], saturating=saturating)
    assert (warning is not None and "7 bits" in warning) == warned
