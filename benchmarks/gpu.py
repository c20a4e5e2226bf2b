"""What every model does on an NVIDIA GPU, by backend and precision: python benchmarks/gpu.py.

Each line is measured in a process of its own, so that its memory is its own and a backend that ends its process takes
nothing else along. Engines are built and verified against the model on the spot. The ceiling is the better of a matrix
product and a convolution of PyTorch on the same card, in the same precision and without TF32. Prints a Markdown table;
--json FILE also writes what the table is made of. Without a GPU it says so and exits with 1; --device cpu runs the same
on the CPU, to try the program itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from postfilter import models
from postfilter.cli.options import SIZES, parse_size, size_label
from postfilter.errors import DeviceError, PostfilterError
from postfilter.export import build_engine
from postfilter.runtime import load_engine, measure_speed
from postfilter.runtime.cuda_probe import probe_cuda, require_device

BACKENDS = ("torch", "onnxruntime", "tensorrt")
PRECISIONS = ("fp32", "fp16", "bf16")
LINE_SECONDS = 1800
MIB = 2**20

Line = dict[str, Any]


def main() -> int:
    arguments = _arguments()
    if arguments.line:
        print(json.dumps(measured(json.loads(arguments.line))))
        return 0
    try:
        name = device_name(arguments.device)
    except (DeviceError, ImportError) as error:
        print(f"gpu.py: error: {error}", file=sys.stderr)
        return 1
    result: dict[str, Any] = {"device": name, "driver": probe_cuda().driver, "ceiling_tflops": {}, "lines": []}
    print(f"{name}, driver {result['driver'] or 'unknown'}; best of {arguments.seconds:g} s a line", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="postfilter-gpu-") as folder:
        for precision in arguments.precisions:
            task = {"what": "ceiling", "device": arguments.device, "precision": precision}
            result["ceiling_tflops"][precision] = in_a_process(task).get("tflops", 0.0)
        for task in tasks(arguments, Path(folder)):
            line = task | in_a_process(task)
            line["share"] = share(line, result["ceiling_tflops"])
            result["lines"].append(line)
            print(row(line), file=sys.stderr)
    print(table(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if any("fps" in line for line in result["lines"]) else 1


def tasks(arguments: argparse.Namespace, folder: Path) -> Iterator[Line]:
    """Every line to be measured. One engine serves all sizes, but for TensorRT, which is fastest with one each."""
    for backend in arguments.backends:
        if backend == "tensorrt" and arguments.device == "cpu":
            continue
        for model in arguments.models:
            for precision in arguments.precisions:
                for width, height in arguments.sizes:
                    graphs = (True, False) if backend != "onnxruntime" and arguments.device != "cpu" else (False,)
                    fixed = f"-{width}x{height}" if backend == "tensorrt" else ""
                    for cuda_graphs in graphs:
                        yield {
                            "what": "line",
                            "engine": str(folder / f"{backend}-{model}-{precision}{fixed}"),
                            "backend": backend,
                            "model": model,
                            "precision": precision,
                            "width": width,
                            "height": height,
                            "cuda_graphs": cuda_graphs,
                            "compile_network": arguments.compile and backend == "torch",
                            "device": arguments.device,
                            "seconds": arguments.seconds,
                        }


def in_a_process(task: Line) -> Line:
    """What the process that was given the task printed; `error` where it failed."""
    command = [sys.executable, __file__, "--line", json.dumps(task)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LINE_SECONDS)
    except subprocess.TimeoutExpired:
        return {"error": f"took over {LINE_SECONDS} s"}
    try:
        told: Line = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = done.stderr.strip().splitlines()[-1:] or ["said nothing"]
        return {"error": f"ended with status {done.returncode}: {last[0]}"}
    return told


def measured(task: Line) -> Line:
    """Measure what a task says, in this process; `error` where postfilter refuses."""
    try:
        return ceiling(task) if task["what"] == "ceiling" else line(task)
    except (PostfilterError, RuntimeError) as error:
        return {"error": str(error).splitlines()[0]}


def ceiling(task: Line) -> Line:
    import torch

    from postfilter.runtime.pt_limits import best_tflops

    torch.backends.cudnn.allow_tf32 = False
    return {"tflops": best_tflops(device=task["device"], precision=task["precision"], seconds=2.0)}


def line(task: Line) -> Line:
    folder, device = Path(task["engine"]), task["device"]
    width, height = task["width"], task["height"]
    if not folder.is_dir():
        build_engine(
            task["model"],
            precision=task["precision"],
            backend=task["backend"],
            size=(width, height) if task["backend"] == "tensorrt" else None,
            device=device,
            output=folder,
        )
    before = used_mib(device)
    with load_engine(
        folder, device=device, cuda_graphs=task["cuda_graphs"], compile_network=task["compile_network"]
    ) as engine:
        speed = measure_speed(engine, width=width, height=height, seconds=task["seconds"])
        memory = used_mib(device) - before
        told = engine.execution(width=width, height=height)
        macs = engine.manifest.cost["kmac_per_px"] * 1e3 * width * height
    return {
        "fps": speed.fps,
        "p50_ms": speed.latency_ms["p50"],
        "p99_ms": speed.latency_ms["p99"],
        "tflops": 2 * macs * speed.fps / 1e12,
        "memory_mib": memory,
        "ran_in": told.precision_run,
        "ran_on": told.device_name,
        "backend_version": told.backend_version,
        "psnr_db": engine.manifest.verification["psnr_db"],
    }


def used_mib(device: str) -> float:
    """Memory of the GPU in use, whoever uses it, in MiB; of the process on a CPU."""
    if device == "cpu":
        import psutil

        return float(psutil.Process().memory_info().rss) / MIB
    import torch

    torch.cuda.synchronize(device)
    free, total = torch.cuda.mem_get_info(device)
    return (total - free) / MIB


def device_name(device: str) -> str:
    import torch

    if device == "cpu":
        return "CPU"
    found = require_device(device, purpose="this benchmark", remedy="run it there, or try it with --device cpu")
    if not torch.cuda.is_available():
        raise DeviceError(f"torch {torch.__version__} cannot use {found.name}: install a torch for its CUDA")
    return found.name


def share(line: Line, ceilings: dict[str, float]) -> float | None:
    """How much of the ceiling of what it ran in a line reaches; None where either was not measured."""
    ceiling = ceilings.get(line.get("ran_in", ""), 0.0)
    return line["tflops"] / ceiling if ceiling and "tflops" in line else None


def table(result: dict[str, Any]) -> str:
    ceilings = ", ".join(f"{name} {rate:.1f}" for name, rate in result["ceiling_tflops"].items())
    heads = ["backend", "model", "size", "precision", "CUDA graph", "fps", "p50 ms", "TFLOPS", "of the ceiling"]
    heads += ["memory MiB", "to PyTorch fp32"]
    rule = "|".join(["---"] * len(heads))
    return "\n".join(
        [
            f"{result['device']}, driver {result['driver'] or 'unknown'}. Ceiling in TFLOPS: {ceilings}.",
            "",
            f"| {' | '.join(heads)} |",
            f"|{rule}|",
            *(row(line) for line in result["lines"]),
        ]
    )


def row(line: Line) -> str:
    size = size_label((line["width"], line["height"]))
    cells = [line["backend"], line["model"], size, line["precision"], "yes" if line["cuda_graphs"] else "no"]
    if "error" in line:
        return f"| {' | '.join(cells)} | {line['error'].replace('|', '/')} ||||||"
    reached = "" if line["share"] is None else f"{100 * line['share']:.0f} %"
    cells += [f"{line['fps']:.1f}", f"{line['p50_ms']:.2f}", f"{line['tflops']:.3f}", reached]
    cells += [f"{line['memory_mib']:.0f}", f"{line['psnr_db']:.1f} dB"]
    return f"| {' | '.join(cells)} |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0", help="cuda:N, or cpu to try the program (default: cuda:0)")
    parser.add_argument("--models", nargs="+", default=list(models.names(shipped=True)), choices=models.names())
    parser.add_argument("--sizes", nargs="+", type=parse_size, default=list(SIZES.values()), metavar="480p|…|WxH")
    parser.add_argument("--backends", nargs="+", default=list(BACKENDS), choices=BACKENDS)
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each line (default: 4)")
    parser.add_argument("--compile", action="store_true", help="let torch.compile try each network")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    parser.add_argument("--line", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if None in arguments.sizes:
        parser.error("argument --sizes: dynamic is no size to measure at")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
