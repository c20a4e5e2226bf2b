"""What of this machine decides which kernels run: its processor or GPU, the driver, the versions of the backends."""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from postfilter.runtime import cuda_probe
from postfilter.runtime.trt_library import DISTRIBUTIONS as TENSORRT

__all__ = [
    "byte_sums_saturate",
    "cpu_features",
    "cpu_name",
    "device_facts",
    "features_of",
    "installed_version",
    "platform_name",
]

_DISTRIBUTIONS = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu"), "tensorrt": TENSORRT}
"""Where a backend's package is called otherwise than the backend."""

_X86 = {"sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"}
_X86 |= {"avx_vnni", "avx_vnni_int8", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16"}
_ARM = {"asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "svei8mm", "svebf16", "sme"}
_VNNI = {"avx512_vnni", "avx_vnni", "amx_int8"}
_DECIDING = _X86 | _ARM
"""The instruction sets that kernels of convolutions are chosen by, in the words of /proc/cpuinfo: `asimdhp` is fp16
arithmetic and `asimddp` the dot product of bytes on ARM."""

_CPUINFO = Path("/proc/cpuinfo")
_BOARD = Path("/sys/firmware/devicetree/base/model")
"""An ARM board's name, which its processors do not have."""


def device_facts(backend: str, device: str) -> dict[str, Any]:
    """Return what of a device an engine's build and verification depend on.

    No backend is loaded for it, but OpenVINO for its GPUs and NPUs.

    Args:
        backend: a key of `runtime.BACKENDS`.
        device: the backend's name of a device.

    Returns:
        `platform` and `hardware`; for a CPU also `cpu_features`, for an NVIDIA GPU `compute_capability`, `driver`
        and `cuda`. `platform` alone where there is no such device here.
    """
    here = {"platform": platform_name()}
    gpu = cuda_probe.cuda_name(device)
    if gpu is not None:
        probe = cuda_probe.probe_cuda()
        found = next((each for each in probe.devices if f"cuda:{each.index}" == gpu), None)
        if found is None:
            return here
        told = {"driver": probe.driver, "cuda": probe.cuda}
        return here | {"hardware": found.name, "compute_capability": found.compute_capability} | told
    if device.lower() == "cpu":
        return here | {"hardware": cpu_name(), "cpu_features": list(cpu_features())}
    return here | (_openvino_facts(device) if backend == "openvino" else {})


def platform_name() -> str:
    """Return the operating system and the processor's kind, for instance `linux-aarch64`."""
    return f"{sys.platform}-{platform.machine().lower()}"


def cpu_features() -> tuple[str, ...]:
    """Return the instruction sets that decide which kernels run, sorted; the processor's kind where none are told."""
    with suppress(OSError):
        found = features_of(_CPUINFO.read_text(errors="replace"))
        if found:
            return found
    return (platform.machine().lower(),)


def byte_sums_saturate(features: Collection[str] | None = None) -> bool:
    """Return whether sums of products of unsigned and signed bytes saturate at 16 bits on this processor.

    So it is on x86 without VNNI (oneDNN, "Nuances of int8 Computations"; OpenVINO, "Saturation (overflow) Issue
    Workaround"). Weights of 7 bits are the remedy: 2 x 255 x 63 still fits.

    Args:
        features: of `cpu_features`; of this machine where None.
    """
    found = set(cpu_features() if features is None else features)
    return not found & (_VNNI | _ARM) and not found & {"arm64", "aarch64"}


def features_of(cpuinfo: str) -> tuple[str, ...]:
    """Return those of the deciding instruction sets that every core of a /proc/cpuinfo has, sorted.

    Cores of several kinds stand side by side on ARM; a thread may run on any, so the least of them counts.
    """
    cores = [
        set(line.split(":", 1)[1].split())
        for line in cpuinfo.splitlines()
        if ":" in line and line.split(":", 1)[0].strip() in ("flags", "Features")
    ]
    return tuple(sorted(set.intersection(*cores) & _DECIDING)) if cores else ()


def cpu_name() -> str:
    """Return the processor's name as the system tells it: its own, the board's, or its kind."""
    with suppress(OSError):
        for line in _CPUINFO.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    with suppress(OSError):
        # A string as C has it.
        return _BOARD.read_text(errors="replace").rstrip("\0").strip()
    return platform.processor() or platform.machine()


def installed_version(backend: str, *, load: bool = True) -> str:
    """Return the version of a backend's package; empty where it is not installed or does not tell.

    Args:
        backend: a key of `runtime.BACKENDS`.
        load: import TensorRT where its installation does not tell, as a system's own may not; False tells only what
            can be told without.
    """
    from importlib.metadata import PackageNotFoundError, version

    for distribution in _DISTRIBUTIONS.get(backend, (backend,)):
        with suppress(PackageNotFoundError):
            return version(distribution)
    module = sys.modules.get(backend)
    if module is None and load and backend == "tensorrt":
        # Whatever is wrong with a broken package, its first engine will tell.
        with suppress(Exception):
            module = importlib.import_module(backend)
    return str(getattr(module, "__version__", ""))


def _openvino_facts(device: str) -> dict[str, Any]:
    """The name of a GPU or NPU, which the system tells OpenVINO alone."""
    try:
        import openvino

        return {"hardware": str(openvino.Core().get_property(device.upper(), "FULL_DEVICE_NAME")).strip()}
    except (ImportError, RuntimeError):  # its first engine will tell what is wrong
        return {}
