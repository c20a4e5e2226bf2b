"""Everything that is touched of TensorRT and of CUDA exists in the real packages, old and new, with these arguments.

TensorRT's bindings are wheels of a megabyte; the libraries that they load cannot be had everywhere. They import over
libraries of a few symbols that do nothing, which is enough to compare names and signatures. Nothing is executed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the bindings' libraries are made for Linux"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc"),
]

SCRIPT = Path(__file__).with_name("trt_contract.py")
FACTORIES = [
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getInferLibVersion",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("package", "major"), [("tensorrt-cu12-bindings==10.3.0", 10), ("tensorrt-cu13-bindings==11.4.0.106", 11)]
)
def test_every_name_is_in_the_real_bindings(package: str, major: int, tmp_path: Path) -> None:
    unpack(package, tmp_path)
    source = tmp_path / "nothing.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FACTORIES))
    for name in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        command = ["gcc", "-shared", "-fPIC", "-o", str(tmp_path / f"lib{name}.so.{major}"), str(source)]
        subprocess.run(command, check=True)
    report = compare("tensorrt", tmp_path)
    assert report["problems"] == []
    assert report["version"].startswith(f"{major}.")
    assert len(report["checked"]) > 90


@pytest.mark.timeout(900)
@pytest.mark.parametrize("package", ["cuda-bindings==12.*", "cuda-bindings==13.*"])
def test_every_name_is_in_the_real_cuda_bindings(package: str, tmp_path: Path) -> None:
    unpack(package, tmp_path)
    report = compare("cuda", tmp_path)
    assert report["problems"] == []
    assert report["version"].startswith(package.split("==")[1].rstrip("*"))
    assert len(report["checked"]) > 35


def unpack(package: str, folder: Path) -> None:
    """Put a package and what it needs into `folder`, without installing it."""
    needs = [] if package.startswith("tensorrt") else ["cuda-pathfinder"]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    done = subprocess.run([*command, package, *needs], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as file:
            file.extractall(folder)


def compare(what: str, folder: Path) -> dict[str, Any]:
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {
        "LD_LIBRARY_PATH": f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}",
        "PYTHONPATH": f"{folder}:{root}:{os.environ.get('PYTHONPATH', '')}",
    }
    done = subprocess.run([sys.executable, str(SCRIPT), what], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report
