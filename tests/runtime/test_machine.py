"""What this machine tells of itself, read from recorded texts and from this machine."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from postfilter.runtime import cuda_probe, machine
from postfilter.runtime.cuda_probe import CudaDevice, CudaProbe
from postfilter.runtime.machine import (
    byte_sums_saturate,
    cpu_features,
    cpu_name,
    device_facts,
    features_of,
    installed_version,
)

EPYC = """processor	: 0
model name	: AMD EPYC 9R14
flags		: fpu vme sse sse4_1 fma f16c avx avx2 avx512f avx512_bf16 avx512_vnni sha_ni
processor	: 1
model name	: AMD EPYC 9R14
flags		: fpu vme sse sse4_1 fma f16c avx avx2 avx512f avx512_bf16 avx512_vnni sha_ni
"""
ORIN = """processor	: 0
BogoMIPS	: 62.50
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp uscat
CPU implementer	: 0x41
"""
TWO_KINDS = """processor	: 0
Features	: fp asimd asimdhp asimddp
processor	: 4
Features	: fp asimd asimdhp asimddp sve i8mm bf16
"""


@pytest.mark.parametrize(
    ("text", "features"),
    [
        (EPYC, ("avx", "avx2", "avx512_bf16", "avx512_vnni", "avx512f", "f16c", "fma", "sse4_1")),
        (ORIN, ("asimd", "asimddp", "asimdhp")),
        (TWO_KINDS, ("asimd", "asimddp", "asimdhp")),
        ("", ()),
        ("flags without a colon\n", ()),
    ],
)
def test_features_are_those_that_every_core_has(text: str, features: tuple[str, ...]) -> None:
    assert features_of(text) == features


def test_where_the_system_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "absent")
    monkeypatch.setattr(machine, "_BOARD", tmp_path / "absent too")
    assert cpu_features() == (platform.machine().lower(),)
    assert cpu_name()
    # Processors of ARM have no name, their board does.
    (tmp_path / "cpuinfo").write_text(ORIN)
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson Orin Nano\0")
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "_BOARD", tmp_path / "model")
    assert cpu_name() == "NVIDIA Jetson Orin Nano"
    assert cpu_features() == ("asimd", "asimddp", "asimdhp")


def test_a_processor_and_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = CudaDevice(index=1, name="Some GPU", compute_capability="8.7", memory_mb=8192)
    monkeypatch.setattr(cuda_probe, "probe_cuda", lambda: CudaProbe(devices=(gpu,), driver="540.4", cuda="12.6"))
    here = {"platform": f"{sys.platform}-{platform.machine().lower()}"}
    assert device_facts("openvino", "CPU") == here | {"hardware": cpu_name(), "cpu_features": list(cpu_features())}
    assert device_facts("torch", "cuda:1") == here | {
        "hardware": "Some GPU",
        "compute_capability": "8.7",
        "driver": "540.4",
        "cuda": "12.6",
    }
    assert device_facts("tensorrt", "cuda:0") == here
    assert device_facts("openvino", "GPU.7") == here


def test_versions_are_those_of_the_installed_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    assert openvino.__version__.startswith(installed_version("openvino"))
    assert installed_version("no-such-backend") == ""
    # A package that came with the system, without what pip writes down: as JetPack's may be.
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.setattr(machine, "_DISTRIBUTIONS", {"tensorrt": ("no-such-distribution",)})
    (tmp_path / "tensorrt.py").write_text("__version__ = '10.3.0'")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert installed_version("tensorrt", load=False) == ""
    assert installed_version("tensorrt") == "10.3.0"
    monkeypatch.delitem(sys.modules, "tensorrt")


@pytest.mark.parametrize(
    ("features", "saturates"),
    [
        (("avx", "avx2", "fma"), True),
        (("avx2", "avx512f"), True),
        (("x86_64",), True),
        (("avx2", "avx_vnni"), False),
        (("avx2", "avx512_vnni", "avx512f"), False),
        (("asimd",), False),
        (("arm64",), False),
    ],
)
def test_sums_of_bytes_saturate_on_x86_without_vnni(features: tuple[str, ...], saturates: bool) -> None:
    assert byte_sums_saturate(features) == saturates
