"""Asks the NVIDIA driver for its devices and writes them as JSON; run as a program of its own by `cuda_probe`.

It needs the standard library alone and is run by its path, so that it starts at once and a driver that crashes takes
nothing else with it.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["query"]

# CUdevice_attribute of the driver's interface.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76

_VERSION_FILE = Path("/sys/module/nvidia/version")


def query() -> dict[str, Any]:
    """Return `devices`, `driver` and `cuda`; or `problem`, why there are none."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError as error:
        return {"problem": f"no NVIDIA driver can be loaded: {error}"}
    if status := driver.cuInit(0):
        return {"problem": f"the NVIDIA driver does not start: {_explain(driver, status)}"}
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    driver.cuDriverGetVersion(ctypes.byref(version))
    if status := driver.cuDeviceGetCount(ctypes.byref(count)):
        return {"problem": f"the NVIDIA driver does not tell its devices: {_explain(driver, status)}"}
    if count.value == 0:
        return {"problem": "the NVIDIA driver sees no GPU"}
    return {
        "devices": [_device(driver, index) for index in range(count.value)],
        "driver": _VERSION_FILE.read_text().strip() if _VERSION_FILE.is_file() else "",
        "cuda": f"{version.value // 1000}.{version.value % 1000 // 10}",
    }


def _device(driver: ctypes.CDLL, index: int) -> dict[str, Any]:
    handle = ctypes.c_int(0)
    driver.cuDeviceGet(ctypes.byref(handle), index)
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, len(name), handle)
    size = ctypes.c_size_t(0)
    driver.cuDeviceTotalMem_v2(ctypes.byref(size), handle)
    parts = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        value = ctypes.c_int(0)
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle)
        parts.append(str(value.value))
    address = ctypes.create_string_buffer(32)
    driver.cuDeviceGetPCIBusId(address, len(address), handle)
    return {
        "index": index,
        "name": name.value.decode(errors="replace"),
        "compute_capability": ".".join(parts),
        "memory_mb": size.value // 2**20,
        "pci_bus_id": address.value.decode(errors="replace"),
    }


def _explain(driver: ctypes.CDLL, status: int) -> str:
    text = ctypes.c_char_p()
    driver.cuGetErrorString(status, ctypes.byref(text))
    return f"{(text.value or b'unknown error').decode(errors='replace')} (CUDA error {status})"


if __name__ == "__main__":
    json.dump(query(), sys.stdout)
