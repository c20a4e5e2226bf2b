"""What a user of a machine without a GPU is told when asking for TensorRT."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("options", [[], ["--json", "--hardware-compatible", "ampere_plus", "--version-compatible"]])
def test_an_engine_is_asked_for_where_there_is_no_gpu(options: list[str], tmp_path: Path) -> None:
    code = "import sys; from postfilter.cli.export_engine import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "fastarcnn", "--fp16", "--backend", "tensorrt", *options]
    # A machine that has one hides it.
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 1 and done.stdout == ""
    assert "needs an NVIDIA GPU, and this machine has none" in done.stderr
    assert "copy the engine's folder" in done.stderr and "--backend openvino" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_option_that_makes_no_sense(tmp_path: Path) -> None:
    code = "import sys; from postfilter.cli.export_engine import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "fastarcnn", "--backend", "tensorrt", "--effort", "9"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "effort is 9; it goes from 0 to 5" in done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--backend", "tensorrt", "--dla", "0"], "give --size"),
        (["--backend", "tensorrt", "--dla", "0", "--size", "1080p"], "needs an NVIDIA GPU, and this machine has none"),
        (["--backend", "openvino", "--dla", "0"], "--dla 0 is not to be had with --backend openvino"),
        (["--backend", "tensorrt"], "`trtexec --onnx=graph/model.onnx --stronglyTyped"),
    ],
)
def test_the_dla_and_what_to_do_elsewhere(options: list[str], told: str, tmp_path: Path) -> None:
    code = "import sys; from postfilter.cli.export_engine import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "fastarcnn", "--fp16", *options]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert told in done.stderr
