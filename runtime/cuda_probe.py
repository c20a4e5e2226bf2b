"""Which CUDA devices this machine has, found out without loading anything into this process.

A library that is asked for a device too early or on a machine without one may end the process: TensorRT does so when it
deserializes. So the driver is asked first, and by another process.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from postfilter.errors import DeviceError, UnknownNameError
from postfilter.runtime import cuda_query

__all__ = ["CudaDevice", "CudaProbe", "cuda_name", "probe_cuda", "require_device"]

_SECONDS = 120
"""A driver that was not in use may take long to wake several GPUs."""


@dataclass(frozen=True, kw_only=True)
class CudaDevice:
    """One GPU as the driver tells of it."""

    index: int
    name: str
    compute_capability: str
    """Major and minor number, for instance `8.7`."""
    memory_mb: int
    pci_bus_id: str = ""
    """Its place on the bus, for instance `0000:65:00.0`, by which NVML knows it too."""


@dataclass(frozen=True, kw_only=True)
class CudaProbe:
    """What the driver told."""

    devices: tuple[CudaDevice, ...] = ()
    driver: str = ""
    """The driver's version; empty where the system does not tell (Jetson)."""
    cuda: str = ""
    """The newest CUDA that the driver serves, for instance `12.6`."""
    problem: str = ""
    """Why there is no device; empty where there is one."""


@functools.lru_cache(maxsize=1)
def probe_cuda() -> CudaProbe:
    """Ask the NVIDIA driver for its devices, once a process. Never raises: what went wrong is the probe's `problem`."""
    command = [sys.executable, "-I", cuda_query.__file__]
    told: dict[str, Any]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        told = json.loads(done.stdout) if done.returncode == 0 else {"problem": _how_it_ended(done)}
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        told = {"problem": f"the NVIDIA driver could not be asked: {error}"}
    told["devices"] = tuple(CudaDevice(**each) for each in told.get("devices", ()))
    return CudaProbe(**told)


def cuda_name(device: str) -> str | None:
    """Return the GPU behind a backend's name of a device, as `cuda:N`; None where it is no NVIDIA device's name.

    `cuda` and `tensorrt` are the first GPU. `dla:N` is a core beside the one GPU of a Jetson.
    """
    kind, colon, index = device.lower().partition(":")
    if kind not in ("cuda", "tensorrt", "dla") or (colon and not index.isdigit()):
        return None
    return "cuda:0" if kind == "dla" else f"cuda:{int(index or 0)}"


def require_device(device: str, *, purpose: str, remedy: str) -> CudaDevice:
    """Return the GPU called `device`.

    Args:
        device: a name that `cuda_name` knows, such as `cuda:0`.
        purpose: what needs it, as the subject of a sentence.
        remedy: what to do where this machine has no GPU at all.

    Raises:
        DeviceError: there is no GPU here that CUDA can use.
        UnknownNameError: there are GPUs, but none of this name.
    """
    probe = probe_cuda()
    if not probe.devices:
        raise DeviceError(f"{purpose} needs an NVIDIA GPU, and this machine has none ({probe.problem}); {remedy}")
    known = {f"cuda:{each.index}": each for each in probe.devices}
    name = cuda_name(device)
    if name not in known:
        raise UnknownNameError("CUDA device on this machine", device, tuple(known))
    return known[name]


def _how_it_ended(done: subprocess.CompletedProcess[str]) -> str:
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
    last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
    return f"asking the NVIDIA driver ended with {how}: {last[0]}"
