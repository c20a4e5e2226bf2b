"""What decides whether two engines are the same: keys over everything that goes into a build."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from postfilter.runtime.cuda_probe import probe_cuda
from postfilter.runtime.trt_library import DISTRIBUTIONS as TENSORRT
from postfilter.runtime.trt_target import machine_facts

__all__ = ["build_key", "gpu_facts", "installed_version", "processor", "request_key", "sources_sha256"]

_DISTRIBUTIONS = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu"), "tensorrt": TENSORRT}
"""Where a backend's package is called otherwise than the backend."""


def build_key(
    *,
    graph_sha256: str,
    backend: str,
    backend_version: str,
    device: str,
    precision: str,
    size: tuple[int, int] | None,
    options: Mapping[str, Any] | None = None,
) -> str:
    """Return the SHA-256, in hexadecimal, over all that decides what an engine is.

    Args:
        graph_sha256: of `model.onnx`; it covers the weights, the rewrites and the precision of each weight.
        backend: a key of `runtime.BACKENDS`.
        backend_version: of its package: another version compiles another engine.
        device: the backend's name of the device.
        precision: what was asked for.
        size: (width, height), or None for any.
        options: everything else that changes the result; values that JSON can hold.
    """
    return _sha256(
        {
            "graph_sha256": graph_sha256,
            "backend": backend,
            "backend_version": backend_version,
            "device": device,
            "precision": precision,
            "size": size,
            "options": dict(options or {}),
        }
    )


def request_key(
    model: str,
    *,
    weights: Path,
    residual: bool | None,
    precision: str,
    backend: str,
    device: str,
    size: tuple[int, int] | None,
) -> str:
    """Return the key under which the cache keeps the engine that a user asked for by a model's name.

    The graph is not made for it, so that an engine found in the cache starts at once and needs no torch. In the graph's
    place stand the bytes of the weights and of postfilter's own code that turns them into a graph.
    """
    return _sha256(
        {
            "model": model,
            "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "residual": residual,
            "sources": sources_sha256(),
            "precision": precision,
            "backend": backend,
            "backend_version": installed_version(backend),
            "device": device,
            # A CPU decides whether half precision runs as fp16, bf16 or fp32; a home folder may serve several machines.
            "processor": processor(),
            "gpu": gpu_facts(backend, device),
            "size": size,
        }
    )


def sources_sha256() -> str:
    """Return the SHA-256 over the code of the rooms that decide what a graph computes."""
    package = Path(__file__).parents[1]
    # Installed, the rooms lie beside this one; in a checkout they do as well.
    digest = hashlib.sha256()
    for room in ("models", "quantize", "export"):
        for path in sorted((package / room).rglob("*.py")):
            digest.update(f"{room}/{path.name}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def installed_version(backend: str) -> str:
    """Return the version of a backend's package without importing it; empty where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    for distribution in _DISTRIBUTIONS.get(backend, (backend,)):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return ""


def processor() -> str:
    """Return the CPU's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    # On x86 the flags tell what a name such as "AMD EPYC" of a virtual machine does not.
    told = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "flags", "Features"))]
    return "; ".join(dict.fromkeys(told)) or platform.machine()


def gpu_facts(backend: str, device: str) -> dict[str, str]:
    """Return what a compiled engine is bound to beside its backend's version; nothing where it is bound to nothing.

    A TensorRT plan is: to the GPU, the driver and the system. Nothing is returned where that GPU is not here either.
    """
    if backend != "tensorrt":
        return {}
    name = "cuda:0" if device.lower() == "cuda" else device.lower()
    return next((machine_facts(each) for each in probe_cuda().devices if f"cuda:{each.index}" == name), {})


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
