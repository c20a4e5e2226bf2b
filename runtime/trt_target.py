"""What a TensorRT plan is bound to, and whether it can run somewhere else."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from postfilter.errors import ArtefactError
from postfilter.runtime.cuda_probe import CudaDevice, CudaProbe, probe_cuda
from postfilter.runtime.machine import platform_name

__all__ = ["COMPATIBILITIES", "Compatibility", "Target", "refusal", "require_target", "target_here"]

Compatibility = Literal["none", "same_compute_capability", "ampere_plus"]
COMPATIBILITIES: tuple[Compatibility, ...] = ("none", "same_compute_capability", "ampere_plus")

_AMPERE = (8, 0)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A machine as TensorRT sees it; field for field the keys of `built_for` in `engine.json`."""

    tensorrt: str
    """Version of the library, as `tensorrt.__version__` tells it."""
    gpu: str
    """The GPU's name."""
    compute_capability: str
    platform: str
    """Operating system and processor, for instance `linux-aarch64`."""
    driver: str
    cuda: str
    """The newest CUDA that the driver serves."""

    def as_json(self) -> dict[str, str]:
        """Return it as what `json` writes."""
        return dataclasses.asdict(self)


def target_here(device: CudaDevice, *, tensorrt: str, probe: CudaProbe | None = None) -> Target:
    """Return what a plan would be bound to on a GPU of this machine.

    Args:
        device: the GPU.
        tensorrt: `tensorrt.__version__`.
        probe: what the driver told; asked where None.
    """
    told = probe or probe_cuda()
    return Target(
        tensorrt=tensorrt,
        gpu=device.name,
        compute_capability=device.compute_capability,
        platform=platform_name(),
        driver=told.driver,
        cuda=told.cuda,
    )


def require_target(folder: Path, built_for: Mapping[str, Any], here: Target) -> None:
    """Refuse a plan that cannot run here.

    Args:
        folder: the engine's, for the message.
        built_for: see `refusal`, as `here`.
        here: as above.

    Raises:
        ArtefactError: with the reason.
    """
    if reason := refusal(built_for, here):
        raise ArtefactError(
            f"the engine {folder} cannot run here: {reason}; make it again on this machine, or for several kinds of "
            "machines with --hardware-compatible and --version-compatible"
        )


def refusal(built_for: Mapping[str, Any], here: Target) -> str | None:
    """Return why a plan cannot run here, in one sentence without a full stop; None where it can.

    1. The operating system and the processor are the same.
    2. The version of TensorRT is the same; a version-compatible plan also runs with a newer one of the same major.
    3. The GPU is of the same model and compute capability. With `same_compute_capability` the model may be another;
       with `ampere_plus` any GPU of compute capability 8.0 and above will do.

    The driver may be another: it decides about a rebuild in the cache, not about what can run.

    Args:
        built_for: of the manifest: the fields of `Target`, `compatibility` and `version_compatible`.
        here: this machine.
    """
    needed = ("tensorrt", "gpu", "compute_capability", "platform")
    lacking = [key for key in needed if not (built_for.get(key) and isinstance(built_for[key], str))]
    if lacking:
        return f"its manifest does not tell {', '.join(lacking)} of the machine that it was built for"
    if built_for["platform"] != here.platform:
        return f"it was built for {built_for['platform']}, and this is {here.platform}"
    return _version_refusal(built_for, here) or _gpu_refusal(built_for, here)


def _version_refusal(built_for: Mapping[str, Any], here: Target) -> str | None:
    built, ours = _numbers(built_for["tensorrt"]), _numbers(here.tensorrt)
    # One source may tell the build number and another not: what both tell decides.
    told = min(len(built), len(ours))
    if built[:told] == ours[:told]:
        return None
    if not built_for.get("version_compatible"):
        return f"it was built with TensorRT {built_for['tensorrt']}, and this machine has {here.tensorrt}"
    if built[:1] == ours[:1] and ours[:told] > built[:told]:
        return None
    return (
        f"it was built version-compatible with TensorRT {built_for['tensorrt']}, which newer ones of the same major "
        f"version run, and this machine has {here.tensorrt}"
    )


def _gpu_refusal(built_for: Mapping[str, Any], here: Target) -> str | None:
    level = built_for.get("compatibility", "none")
    built = f"{built_for['gpu']} (compute capability {built_for['compute_capability']})"
    ours = f"{here.gpu} (compute capability {here.compute_capability})"
    if level == "ampere_plus":
        if _numbers(here.compute_capability) >= _AMPERE:
            return None
        return f"it was built for GPUs of compute capability 8.0 and above, and this machine has {ours}"
    if built_for["compute_capability"] != here.compute_capability:
        return f"it was built for {built}, and this machine has {ours}"
    if level == "none" and built_for["gpu"] != here.gpu:
        return f"it was built for the model {built} alone, and this machine has {ours}"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: `10.3.0.post1` is (10, 3, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(each) for each in found[0].split(".")) if found else ()
