"""Whether an engine that was made elsewhere can run here; found out before its backend is imported and sees its files.

What binds an engine:

- OpenVINO and ONNX Runtime read the portable graph, so the engine runs on any processor and device that they serve.
  Only the precision may differ: fp16 runs as bf16 on one processor and as fp32 on another. With OpenVINO a warning says
  so where the one that the engine was verified in is not here.
- PyTorch reads a program that the same or an earlier release saved; PyTorch promises nothing for later ones.
- TensorRT runs a plan on the platform, the version and the GPU that it was built for, see `trt_target`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from postfilter.errors import ArtefactError
from postfilter.runtime import cuda_probe
from postfilter.runtime.machine import installed_version
from postfilter.runtime.manifest import EngineManifest
from postfilter.runtime.trt_target import require_target, target_here

__all__ = ["precision_warning", "require_compatible"]


def require_compatible(folder: Path, manifest: EngineManifest, *, device: str) -> None:
    """Refuse an engine that cannot run on this machine, as far as that is told without its backend.

    A device that is not here and a backend that is not installed are left to the backend, which tells them best.

    Args:
        folder: the engine's, for the message.
        manifest: of the engine.
        device: the backend's name of the device that shall run it.

    Raises:
        ArtefactError: with what the engine was made for and what is here.
    """
    if manifest.backend == "torch":
        _require_reader(folder, manifest)
    elif manifest.backend == "tensorrt":
        _require_target(folder, manifest, device)


def precision_warning(manifest: EngineManifest, capabilities: Sequence[str], *, saturating: bool = False) -> str | None:
    """Return what to tell of an engine that cannot run here in the precision that it was verified in; else None.

    Args:
        manifest: of an OpenVINO engine.
        capabilities: OpenVINO's `OPTIMIZATION_CAPABILITIES` of the device, for instance `FP32`, `BF16`, `INT8`.
        saturating: whether sums of byte products saturate on the device, see `machine.byte_sums_saturate`.
    """
    verified = manifest.precision_run
    if saturating and manifest.quantization.get("weight_bits") == 8:
        return (
            f"this int8 engine of {manifest.model} has weights of 8 bits, whose sums saturate on processors without "
            "VNNI such as this one: pictures may be damaged; make it again here with export-engine, which takes 7 bits"
        )
    if verified not in ("bf16", "fp16", "int8") or verified.upper() in capabilities:
        return None
    return (
        f"this engine of {manifest.model} was verified in {verified}, which this machine's device does not compute in: "
        "it runs in another precision, unverified and at another speed; make it again here with export-engine to verify"
    )


def _require_reader(folder: Path, manifest: EngineManifest) -> None:
    saved, here = _release(manifest.backend_version), _release(installed_version("torch", load=False))
    if saved and here and here < saved:
        raise ArtefactError(
            f"the engine {folder} cannot run here: its program was saved by torch {manifest.backend_version}, and this "
            f"machine's torch {installed_version('torch')} is older, which PyTorch does not promise to read; update "
            "torch, or make the engine again on this machine"
        )


def _require_target(folder: Path, manifest: EngineManifest, device: str) -> None:
    name = cuda_probe.cuda_name(device)
    found = next((each for each in cuda_probe.probe_cuda().devices if f"cuda:{each.index}" == name), None)
    if found is None:
        return
    # Of a package that is loaded, its own word; where nothing else tells, the backend compares once it is loaded.
    version = getattr(sys.modules.get("tensorrt"), "__version__", "") or installed_version("tensorrt", load=False)
    here = target_here(found, tensorrt=version or str(manifest.built_for.get("tensorrt", "")))
    require_target(folder, manifest.built_for, here)


def _release(version: str) -> tuple[int, int] | None:
    """Major and minor number: within them PyTorch changes no format."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None
