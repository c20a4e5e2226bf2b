"""benchmarks/gpu.py where there is no GPU: its error, and that it runs at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # A machine that has one hides it.
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, env=environment)


def test_without_a_gpu_it_says_so() -> None:
    done = run()
    assert done.returncode == 1 and done.stdout == ""
    assert "needs an NVIDIA GPU, and this machine has none" in done.stderr and "Traceback" not in done.stderr


def test_it_can_be_tried_on_a_cpu(tmp_path: Path) -> None:
    task = ["--models", "fastarcnn-luma", "--sizes", "64x48", "--precisions", "fp32", "--backends", "onnxruntime"]
    done = run("--device", "cpu", "--seconds", "0.1", "--json", str(tmp_path / "result.json"), *task)
    assert done.returncode == 0, done.stderr
    (line,) = json.loads((tmp_path / "result.json").read_text())["lines"]
    assert line["fps"] > 0 and line["psnr_db"] > 70 and line["share"] > 0
    assert "| onnxruntime | fastarcnn-luma | 64x48 | fp32 | no |" in done.stdout
