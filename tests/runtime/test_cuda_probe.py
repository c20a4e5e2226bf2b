"""The driver is asked by another process: whatever it does there, this one goes on and can say why there is no GPU."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from postfilter.errors import DeviceError, UnknownNameError
from postfilter.runtime import cuda_probe
from postfilter.runtime.cuda_probe import CudaDevice, probe_cuda, require_device

needs_gcc = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcc") is None, reason="a driver is made with gcc, for Linux"
)

DRIVER = """
#include <stdlib.h>
#include <string.h>
int cuInit(int flags) { %(init)s }
int cuDriverGetVersion(int *v) { *v = 12060; return 0; }
int cuDeviceGetCount(int *n) { *n = %(count)d; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, device ? "Second" : "First", size); return 0; }
int cuDeviceTotalMem_v2(size_t *size, int device) { *size = 8ull << 30; return 0; }
int cuDeviceGetAttribute(int *value, int what, int device) { *value = what == 75 ? 8 : 7 + device; return 0; }
int cuDeviceGetPCIBusId(char *id, int size, int device) { strncpy(id, device ? "0:2" : "0:1", size); return 0; }
int cuGetErrorString(int error, const char **text) { *text = "no CUDA-capable device is detected"; return 0; }
"""


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    probe_cuda.cache_clear()
    yield
    probe_cuda.cache_clear()


def install_driver(folder: Path, monkeypatch: pytest.MonkeyPatch, *, init: str = "return 0;", count: int = 0) -> None:
    """A libcuda of our own, found before the machine's."""
    (folder / "driver.c").write_text(DRIVER % {"init": init, "count": count})
    command = ["gcc", "-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), str(folder / "driver.c")]
    subprocess.run(command, check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))


@needs_gcc
def test_devices_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_driver(tmp_path, monkeypatch, count=2)
    probe = probe_cuda()
    assert (probe.problem, probe.cuda) == ("", "12.6")
    assert probe.devices == (
        CudaDevice(index=0, name="First", compute_capability="8.7", memory_mb=8192, pci_bus_id="0:1"),
        CudaDevice(index=1, name="Second", compute_capability="8.8", memory_mb=8192, pci_bus_id="0:2"),
    )
    for name, index in (("cuda", 0), ("cuda:1", 1), ("CUDA:1", 1)):
        assert require_device(name, purpose="x", remedy="y").index == index
    with pytest.raises(UnknownNameError, match="'cuda:2'; known: cuda:0, cuda:1"):
        require_device("cuda:2", purpose="x", remedy="y")


@needs_gcc
@pytest.mark.parametrize(
    ("init", "problem"),
    [
        ("return 100;", r"does not start: no CUDA-capable device is detected \(CUDA error 100\)"),
        ("return 0;", "sees no GPU"),
        ("abort();", "ended with signal 6"),
        ("*(volatile int *)0 = 1; return 0;", "ended with signal 11"),
        ("exit(3);", "ended with status 3"),
    ],
)
def test_a_driver_without_a_device_or_that_crashes(
    init: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_driver(tmp_path, monkeypatch, init=init)
    with pytest.raises(DeviceError, match=rf"^An engine needs an NVIDIA GPU, and .*{problem}.*; go there$"):
        require_device("cuda", purpose="An engine", remedy="go there")


def test_a_machine_without_a_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The program finds no library of this name, wherever the test runs.
    program = tmp_path / "query.py"
    source = Path(cuda_probe.cuda_query.__file__).read_text()
    program.write_text(source.replace("libcuda.so.1", "libcuda-absent.so.1").replace("nvcuda.dll", "nvcuda-absent.dll"))
    monkeypatch.setattr(cuda_probe.cuda_query, "__file__", str(program))
    probe = probe_cuda()
    assert probe.devices == ()
    assert "no NVIDIA driver can be loaded" in probe.problem and "absent" in probe.problem
