"""The PyTorch backend beside the suite for all backends: devices, compiled networks, and GPUs where there is one."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from postfilter.errors import DeviceError, MissingDependencyError, UnknownNameError
from postfilter.runtime import cuda_probe, load_engine, pt, read_manifest
from postfilter.runtime.backend import Options
from postfilter.runtime.cuda_probe import CudaDevice, CudaProbe

GPU = CudaDevice(index=0, name="Some GPU", compute_capability="8.9", memory_mb=8192)
Engines = dict[str, Path]
Planes = Callable[..., NDArray[Any]]


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_cuda")
def test_three_ways_of_having_no_gpu(engines_of_each_backend: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(error: type[Exception], match: str) -> None:
        with pytest.raises(error, match=match):
            load_engine(engines_of_each_backend["torch"], device="cuda:0")

    monkeypatch.setattr(cuda_probe, "probe_cuda", lambda: CudaProbe(problem="no driver"))
    told(DeviceError, r"on cuda:0 needs an NVIDIA GPU, and this machine has none \(no driver\).*--device cpu")
    monkeypatch.setattr(cuda_probe, "probe_cuda", lambda: CudaProbe(devices=(GPU,)))
    monkeypatch.setattr(torch.version, "cuda", None)
    told(MissingDependencyError, r"needs torch with CUDA, which is not installed \(torch .* is built for CPUs alone\)")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    told(DeviceError, r"built for CUDA 13\.0, cannot use Some GPU: update the driver")


def test_a_name_of_no_device(engines_of_each_backend: Engines) -> None:
    with pytest.raises(UnknownNameError, match="known: cpu"):
        load_engine(engines_of_each_backend["torch"], device="cpu:1")


@pytest.mark.parametrize("faster", [True, False])
def test_a_compiled_network_is_taken_where_it_is_faster(
    faster: bool, engines_of_each_backend: Engines, planes: Planes, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = planes(16, 16)
    calls: list[int] = []

    def compile_network(module: Any, *, dynamic: bool) -> Callable[..., Any]:
        def compiled(codes: torch.Tensor, peak: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return codes

        assert not dynamic
        return compiled

    def timed(work: Callable[[], object], seconds: float) -> float:
        before = len(calls)
        work()
        took = 1.0 if faster else 4.0
        return took if len(calls) > before else 2.0

    monkeypatch.setattr(torch, "compile", compile_network)
    monkeypatch.setattr(pt, "best_seconds", timed)
    with load_engine(engines_of_each_backend["torch"], compile_network=True) as engine:
        result = engine(samples)
        assert len(calls) == (2 if faster else 1)
    # What stands in for the faster one gives back its input.
    assert np.array_equal(result, samples) is faster


def test_a_compiler_that_fails_is_told_and_not_needed(
    engines_of_each_backend: Engines, planes: Planes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def compile_network(module: Any, *, dynamic: bool) -> Callable[..., Any]:
        def compiled(codes: torch.Tensor, peak: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no C++ compiler\nand much more")

        return compiled

    monkeypatch.setattr(torch, "compile", compile_network)
    monkeypatch.setattr(pt, "_COMPARE_SECONDS", 0.02)
    folder, samples = engines_of_each_backend["torch"], planes(16, 16)
    with load_engine(folder) as plain:
        expected = plain(samples)
    with caplog.at_level(logging.WARNING), load_engine(folder, compile_network=True) as engine:
        np.testing.assert_array_equal(engine(samples), expected)
    assert "without torch.compile, which failed" in caplog.text and "no C++ compiler" in caplog.text
    assert "much more" not in caplog.text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="torch.compile needs gcc")
def test_a_network_that_is_really_compiled(
    engines_of_each_backend: Engines, planes: Planes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pt, "_WORTH", 0.0)
    folder, samples = engines_of_each_backend["torch"], planes(33, 17)
    with load_engine(folder) as plain, load_engine(folder, compile_network=True) as engine:
        assert np.abs(engine(samples).astype(int) - plain(samples)).max() <= 1


@pytest.mark.gpu
@pytest.mark.parametrize("cuda_graphs", [True, False])
@pytest.mark.parametrize("bit_depth", [8, 10])
def test_a_real_gpu(
    cuda_graphs: bool, bit_depth: int, engines_of_each_backend: Engines, planes: Planes, reference: Planes
) -> None:
    folder = engines_of_each_backend["torch"]
    frames = [planes(33 if seed % 3 else 48, 17, bit_depth=bit_depth, seed=seed) for seed in range(9)]
    frames.append(planes(32, 16, bit_depth=bit_depth, frames=3))
    with load_engine(folder, device="cuda:0", bit_depth=bit_depth, cuda_graphs=cuda_graphs) as engine:
        for got, frame in zip(engine.stream(iter(frames)), frames, strict=True):
            difference = np.abs(got.astype(int) - reference(folder, frame, bit_depth=bit_depth))
            assert difference.max() <= 1 and np.mean(difference) < 0.01
        told = engine.execution(width=32, height=16)
    assert told.precision_run == "fp32" and told.device_name == torch.cuda.get_device_name(0)


@pytest.mark.gpu
def test_a_real_gpu_records_a_graph(engines_of_each_backend: Engines) -> None:
    folder = engines_of_each_backend["torch"]
    backend = pt.TorchBackend(folder, read_manifest(folder), Options(bit_depth=8, device="cuda:0"))
    assert backend.slot((1, 1, 16, 32))._graph is not None
