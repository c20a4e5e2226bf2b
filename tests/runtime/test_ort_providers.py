"""ONNX Runtime on GPUs: what is chosen, what is refused, and that nothing falls back unseen.

Sessions are real ones of the CPU's build. Where a GPU is needed to go on, the machine's answer alone is stood in for.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from postfilter.errors import DeviceError, MissingDependencyError, UnknownNameError
from postfilter.runtime import cuda_probe, load_engine, ort, ort_providers
from postfilter.runtime.cuda_probe import CudaDevice, CudaProbe
from postfilter.runtime.ort import Slot
from postfilter.runtime.ort_providers import CPU, CUDA, TENSORRT, Choice, on_the_cpu, require_provider, why_not_loaded
from postfilter.runtime.sealed import SEAL, drop_untrusted, seal

GPU = CudaDevice(index=1, name="Some GPU", compute_capability="8.9", memory_mb=8192)
PROBE = CudaProbe(devices=(CudaDevice(index=0, name="First", compute_capability="8.9", memory_mb=1), GPU), driver="9")

cpu_build = pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this build serves CUDA")


@pytest.fixture
def with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_probe, "probe_cuda", lambda: PROBE)
    monkeypatch.setattr(ort_providers, "probe_cuda", lambda: PROBE)


def choose(device: str, **changed: Any) -> Choice:
    given = {"precision": "fp16", "graph_sha256": "ab", "purpose": "the engine x"} | changed
    return ort_providers.choose(onnxruntime, device, **given)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "tensorrt:1"])
def test_no_gpu(device: str, make_engine: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_probe, "probe_cuda", lambda: CudaProbe(problem="no driver"))
    with pytest.raises(DeviceError, match=rf"on {device} needs an NVIDIA GPU.*\(no driver\).*--device cpu"):
        load_engine(make_engine(backend="onnxruntime"), device=device)


@cpu_build
@pytest.mark.parametrize(("device", "index"), [("cuda:1", 1), ("tensorrt", 0)])
def test_a_build_for_cpus_alone(device: str, index: int, with_gpus: None, make_engine: Callable[..., Path]) -> None:
    told = (
        rf"on {device} needs onnxruntime-gpu, which is not installed \(this build .*{CPU}\).*pip uninstall onnxruntime"
    )
    with pytest.raises(MissingDependencyError, match=told):
        load_engine(make_engine(backend="onnxruntime"), device=device)


@pytest.mark.parametrize("device", ["abacus", "cpu:1", "cuda:", "cuda:x", "dla:0"])
def test_names_of_no_device(device: str, with_gpus: None) -> None:
    with pytest.raises(UnknownNameError, match="known: cpu, cuda:0, cuda:1, tensorrt:0, tensorrt:1"):
        choose(device)
    with pytest.raises(UnknownNameError, match="known: cuda:0, cuda:1"):
        choose("cuda:7")


class BuildForGpus:
    __version__ = "1.31"

    @staticmethod
    def get_available_providers() -> list[str]:
        return [TENSORRT, CUDA, CPU]


def test_what_a_session_is_asked_for(with_gpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = {"precision": "int8", "graph_sha256": "ab", "purpose": "x"}
    cuda = {"device_id": "1", "use_tf32": "0"}
    assert choose("cpu").session_providers == [(CPU, {})]
    assert ort_providers.choose(BuildForGpus, "cuda:1", **asked).session_providers == [(CUDA, cuda)]
    chosen = ort_providers.choose(BuildForGpus, "tensorrt:1", **asked)
    (first, options), second = chosen.session_providers
    assert first == TENSORRT and second == (CUDA, cuda)
    assert chosen.cache is not None and chosen.cache.is_relative_to(tmp_path / "postfilter")
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == str(chosen.cache)
    assert {name: value for name, value in options.items() if name.endswith(("_enable", "_id"))} == {
        "device_id": "1",
        "trt_int8_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_timing_cache_enable": "1",
    }
    other = ort_providers.choose(BuildForGpus, "tensorrt:1", **asked | {"graph_sha256": "cd"})
    assert other.cache != chosen.cache


def test_a_session_that_fell_back_is_refused(tiny_graph: Callable[..., onnx.ModelProto]) -> None:
    session = onnxruntime.InferenceSession(tiny_graph().SerializeToString(), providers=[CPU])
    require_provider(onnxruntime, CPU, session.get_providers(), purpose="the engine x")
    told = rf"the engine x is to run on {CUDA}, and .* would silently run it on {CPU} instead: .*onnxruntime-gpu\[cuda"
    with pytest.raises(DeviceError, match=told):
        require_provider(onnxruntime, CUDA, session.get_providers(), purpose="the engine x")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_library_that_a_provider_lacks_is_named(tmp_path: Path) -> None:
    def library(name: str, *needs: str) -> None:
        (tmp_path / "nothing.c").write_text(f"int {name.split('.')[0]}(void) {{ return 0; }}\n")
        links = [str(tmp_path / each) for each in needs]
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-Wl,--no-as-needed", "-o", str(tmp_path / name)]
        subprocess.run([*command, str(tmp_path / "nothing.c"), *links], check=True)

    assert why_not_loaded(tmp_path, CUDA).startswith("libonnxruntime_providers_shared.so is not in")
    library("libonnxruntime_providers_shared.so")
    assert why_not_loaded(tmp_path, CUDA).startswith("libonnxruntime_providers_cuda.so is not in")
    library("libcudnn_absent.so.9")
    library("libonnxruntime_providers_cuda.so", "libcudnn_absent.so.9")
    library("libonnxruntime_providers_tensorrt.so")
    (tmp_path / "libcudnn_absent.so.9").unlink()
    assert why_not_loaded(tmp_path, CUDA).startswith("the library libcudnn_absent.so.9 is missing")
    assert why_not_loaded(tmp_path, TENSORRT) == why_not_loaded(tmp_path, CPU) == ""


def test_nodes_that_are_left_to_the_cpu_are_counted(tiny_graph: Callable[..., onnx.ModelProto]) -> None:
    settings = onnxruntime.SessionOptions()
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = onnxruntime.InferenceSession(tiny_graph().SerializeToString(), settings, providers=[CPU])
    if not hasattr(session, "get_provider_graph_assignment_info"):
        assert on_the_cpu(session) == {}
        return
    assert on_the_cpu(session)["Conv"] == 3
    assert sum(on_the_cpu(session).values()) == len(tiny_graph().graph.node)


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_buffers_that_are_bound_once(
    bit_depth: int, tiny_graph: Callable[..., onnx.ModelProto], planes: Callable[..., NDArray[Any]]
) -> None:
    from postfilter.runtime import with_bit_depth

    graph = with_bit_depth(tiny_graph(), bit_depth).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=[CPU])
    slot = Slot(onnxruntime, session, ((1, 1, 16, 24),) * 2, planes(1, 1, bit_depth=bit_depth).dtype, device=("cpu", 0))
    results = []
    for seed in range(3):
        samples = planes(24, 16, bit_depth=bit_depth, seed=seed)
        results.append(slot.run(samples))
        np.testing.assert_array_equal(results[-1], session.run(None, {"samples": samples})[0])
    # Each result is the caller's own.
    assert not np.array_equal(results[0], results[1])
    assert not np.shares_memory(results[0], results[1])


@pytest.fixture
def like_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """ONNX Runtime's way on a GPU, with the CPU's provider and buffers in the GPU's place; returns the cache."""
    cache = tmp_path / "cache"

    class OnCpu(Choice):
        @property
        def session_providers(self) -> list[tuple[str, dict[str, str]]]:
            return [(CPU, {})]

    monkeypatch.setattr(ort, "choose", lambda *_, **__: OnCpu(provider=CPU, gpu=GPU, cache=cache))
    monkeypatch.setattr(ort, "Slot", lambda *given, device: Slot(*given, device=("cpu", 0 * device[1])))
    return cache


def test_the_way_of_a_gpu_filters_the_same(
    like_a_gpu: Path,
    make_engine: Callable[..., Path],
    planes: Callable[..., NDArray[Any]],
    reference: Callable[..., NDArray[Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = make_engine(backend="onnxruntime")
    frames = [planes(24 if seed % 3 else 32, 16, seed=seed) for seed in range(9)]
    with caplog.at_level(logging.WARNING), load_engine(folder, requests=3) as engine:
        for got, frame in zip(engine.stream(iter(frames)), frames, strict=True):
            assert np.abs(got.astype(int) - reference(folder, frame)).max() <= 1
        np.testing.assert_array_equal(engine(frames[0]), engine(frames[0]))
        told = engine.execution(width=24, height=16)
        (like_a_gpu / "built.engine").write_bytes(b"plan")
    # This session runs all on the CPU, which a GPU's must not do unseen.
    assert "leaves to the CPU what it has no kernel for: {" in caplog.text and "'Conv': 3" in caplog.text
    assert told.device_name == f"Some GPU ({CPU}, 14 nodes on the CPU)"
    assert list(json.loads((like_a_gpu / SEAL).read_text())) == ["built.engine"]


def test_what_a_provider_built_is_used_only_as_it_was_left(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    drop_untrusted(folder)
    for name in ("a.engine", "b.engine", "c.timing"):
        (folder / name).write_bytes(name.encode() * 9)
    seal(folder)
    drop_untrusted(folder)
    assert {each.name for each in folder.iterdir()} == {"a.engine", "b.engine", "c.timing", SEAL}
    (folder / "a.engine").write_bytes(b"damaged")
    (folder / "c.timing").write_bytes(b"")
    (folder / "d.engine").write_bytes(b"of a process that was killed")
    drop_untrusted(folder)
    assert {each.name for each in folder.iterdir()} == {"b.engine", SEAL}


@pytest.mark.parametrize("content", ["", "no list", "[1, 2]", '{"a.engine": 3}'])
def test_a_damaged_list_vouches_for_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.engine").write_bytes(b"plan")
    (tmp_path / SEAL).write_text(content)
    drop_untrusted(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [SEAL]


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cuda:0", "tensorrt:0"])
def test_a_real_gpu(
    device: str, make_engine: Callable[..., Path], planes: Callable[..., NDArray[Any]], reference: Any
) -> None:
    wanted = CUDA if device.startswith("cuda") else TENSORRT
    if wanted not in onnxruntime.get_available_providers():
        pytest.skip(f"this build of ONNX Runtime has no {wanted}")
    folder = make_engine(backend="onnxruntime")
    with load_engine(folder, device=device, requests=3) as engine:
        frames = [planes(32, 16, seed=seed) for seed in range(9)]
        for got, frame in zip(engine.stream(iter(frames)), frames, strict=True):
            assert np.abs(got.astype(int) - reference(folder, frame)).max() <= 1
        assert wanted in engine.execution(width=32, height=16).device_name
