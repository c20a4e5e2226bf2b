"""The TensorRT backend around a device that is not there: see `trt_double`. With a real one, the marked tests run."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from postfilter.errors import ArtefactError, DeviceError, InputError, MissingDependencyError, UnknownNameError
from postfilter.runtime import Engine, cuda_probe, load_engine, sha256_of_file, trt_library
from postfilter.runtime.cuda_probe import CudaDevice, CudaProbe
from postfilter.runtime.further_inputs import FurtherInput
from postfilter.runtime.trt_target import target_here

_spec = util.spec_from_file_location("trt_double", Path(__file__).with_name("trt_double.py"))
assert _spec and _spec.loader
trt_double = util.module_from_spec(_spec)
sys.modules["trt_double"] = trt_double
_spec.loader.exec_module(trt_double)

DEVICE = CudaDevice(index=0, name="Some GPU", compute_capability="8.7", memory_mb=8192)
PROBE = CudaProbe(devices=(DEVICE,), driver="540.4", cuda="12.6")
BUILT_FOR = target_here(DEVICE, tensorrt="10.3.0", probe=PROBE).as_json() | {"compatibility": "none"}


@pytest.fixture
def make_trt_engine(
    tiny_graph: Callable[..., onnx.ModelProto], tmp_path: Path, make_engine: Callable[..., Path]
) -> Callable[..., Path]:
    def make(plan: bytes | None = None, **fields: Any) -> Path:
        folder = make_engine("trt")
        (folder / "model.plan").write_bytes(tiny_graph().SerializeToString() if plan is None else plan)
        files = {name: sha256_of_file(folder / name) for name in ("model.onnx", "model.plan")}
        content = {"backend": "tensorrt", "device": "cuda:0", "files": files, "built_for": BUILT_FOR} | fields
        return make_engine("trt", **content)

    return make


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """A machine with one GPU, TensorRT 10.3 and cuda-bindings, none of them real: (cuda, tensorrt)."""
    cuda = trt_double.CudaDouble()
    library = trt_double.tensorrt_double(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    monkeypatch.setattr(cuda_probe, "probe_cuda", lambda: PROBE)
    monkeypatch.setattr("postfilter.runtime.trt_target.probe_cuda", lambda: PROBE)
    yield cuda, library
    trt_library._make_logger.cache_clear()


def test_the_filter_is_that_of_the_graph(
    devices: Any, make_trt_engine: Any, planes: Callable[..., NDArray[Any]], reference: Callable[..., NDArray[Any]]
) -> None:
    folder = make_trt_engine()
    with load_engine(folder) as engine:
        for width, height in ((32, 16), (33, 17), (32, 16)):
            samples = planes(width, height)
            before = samples.copy()
            filtered = engine(samples)
            assert np.abs(filtered.astype(int) - reference(folder, samples)).max() <= 1
            np.testing.assert_array_equal(samples, before)


def test_further_inputs_go_in_and_the_picture_alone_comes_out(
    devices: Any, make_trt_engine: Any, planes: Any, tiny_graph: Callable[..., onnx.ModelProto]
) -> None:
    graph = tiny_graph(further=1).SerializeToString()
    samples = planes(33, 17, frames=2)
    with load_engine(make_trt_engine(plan=graph, inputs=(FurtherInput(name="qp", maximum=51),))) as engine:
        low, high = (engine(samples, inputs={"qp": qp}) for qp in (0, 51))
    wanted = onnxruntime.InferenceSession(graph).run(
        None,
        {
            "samples": np.pad(
                np.concatenate([samples, np.full_like(samples, 255)], 1), ((0, 0),) * 2 + ((0, 1),) * 2, "edge"
            )
        },
    )[0]
    np.testing.assert_array_equal(high, wanted[:, :, :17, :33])
    assert low.shape == samples.shape
    assert not np.array_equal(low, high)


def test_frames_are_recorded_once_and_replayed(devices: Any, make_trt_engine: Any, planes: Any) -> None:
    cuda, library = devices
    with load_engine(make_trt_engine(), requests=1) as engine:
        for seed in range(4):
            engine(planes(16, 16, seed=seed))
        assert cuda.launched == 4
        assert library.engine.contexts == 1


@pytest.mark.parametrize("why", ["asked", "refused", "layer times"])
def test_without_a_cuda_graph_the_output_is_the_same(why: str, devices: Any, make_trt_engine: Any, planes: Any) -> None:
    cuda, _ = devices
    samples = planes(32, 16)
    with load_engine(make_trt_engine()) as engine:
        expected = engine(samples)
    launched, cuda.can_capture = cuda.launched, why != "refused"
    with load_engine(make_trt_engine(), cuda_graphs=why != "asked", layer_times=why == "layer times") as engine:
        np.testing.assert_array_equal(engine(samples), expected)
    assert cuda.launched == launched


def test_a_stream_keeps_the_order_with_several_contexts_in_flight(
    devices: Any, make_trt_engine: Any, planes: Any
) -> None:
    _, library = devices
    frames = [planes(16 if index % 3 else 24, 16, seed=index) for index in range(12)]
    with load_engine(make_trt_engine(), requests=3) as engine:
        expected = [engine(frame) for frame in frames]
        for got, wanted in zip(engine.stream(iter(frames)), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
    # Three of each shape, and not one more for each frame.
    assert 2 < library.engine.contexts <= 6


def test_a_batch_is_filtered_frame_by_frame(devices: Any, make_trt_engine: Any, planes: Any) -> None:
    batch = planes(16, 16, frames=7)
    with load_engine(make_trt_engine(), requests=2) as engine:
        together = engine(batch)
        apart = np.concatenate([engine(batch[index : index + 1]) for index in range(7)])
    np.testing.assert_array_equal(together, apart)


def test_everything_is_given_back(devices: Any, make_trt_engine: Any, planes: Any) -> None:
    cuda, _ = devices
    engine: Engine = load_engine(make_trt_engine())
    # More shapes than are kept.
    for width in range(8, 64, 8):
        list(engine.stream([planes(width, 16)] * 4))
    assert cuda.held
    engine.close()
    del engine
    gc.collect()
    assert cuda.held == {}


def test_too_little_memory_is_told_and_leaves_nothing_behind(devices: Any, make_trt_engine: Any, planes: Any) -> None:
    cuda, _ = devices
    cuda.free_memory = 1000  # enough for the samples, too little for the activations
    with load_engine(make_trt_engine()) as engine:
        with pytest.raises(DeviceError, match=r"out of memory \(CUDA error 2\); .*fewer requests"):
            engine(planes(16, 32))
        gc.collect()
        assert cuda.held == {}


def test_layers_come_with_times_precision_and_nodes(devices: Any, make_trt_engine: Any, planes: Any) -> None:
    with load_engine(make_trt_engine(), layer_times=True) as engine:
        engine(planes(16, 16))
        layers = engine.layers(width=16, height=16)
        execution = engine.execution(width=16, height=16)
    assert [(each.name, each.ms, each.made_of) for each in layers] == [
        ("conv0 + prelu0", 0.5, ("conv0",)),
        ("conv1", 0.5, ("conv1",)),
    ]
    assert (execution.precision_run, execution.device_name) == ("fp16", "Some GPU")


def test_a_frame_outside_the_profile_is_refused(devices: Any, make_trt_engine: Any, planes: Any) -> None:
    with load_engine(make_trt_engine()) as engine, pytest.raises(InputError, match=r"80x16 .* takes 8x8 to 64x64"):
        engine(planes(80, 16))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"tensorrt": "10.7.0"}, "built with TensorRT 10.7.0, and this machine has 10.3.0"),
        ({"compute_capability": "8.9"}, "compute capability 8.9"),
        ({"gpu": "Another GPU"}, "for the model Another GPU"),
        ({"platform": "linux-riscv64"}, "built for linux-riscv64"),
        ({"gpu": ""}, "does not tell gpu"),
    ],
)
def test_a_plan_made_elsewhere_is_refused_before_tensorrt_sees_it(
    changed: dict[str, str], reason: str, devices: Any, make_trt_engine: Any
) -> None:
    _, library = devices
    with pytest.raises(ArtefactError, match=reason):
        load_engine(make_trt_engine(built_for=BUILT_FOR | changed))
    assert library.deserialized == 0


def test_a_plan_that_tensorrt_cannot_read(devices: Any, make_trt_engine: Any) -> None:
    with pytest.raises(ArtefactError, match="Magic tag does not match"):
        load_engine(make_trt_engine(plan=b"damaged"))


def test_an_engine_without_a_plan(make_engine: Callable[..., Path]) -> None:
    with pytest.raises(ArtefactError, match=r"no model\.plan"):
        load_engine(make_engine(backend="tensorrt", device="cuda:0"))


def test_more_than_eight_bits(make_trt_engine: Any) -> None:
    with pytest.raises(InputError, match="no 16-bit samples"):
        load_engine(make_trt_engine(), bit_depth=10)


def test_no_gpu(make_trt_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_probe, "probe_cuda", lambda: CudaProbe(problem="no driver"))
    with pytest.raises(DeviceError, match=r"needs an NVIDIA GPU, and this machine has none \(no driver\)"):
        load_engine(make_trt_engine())


def test_another_gpu_than_there_are(devices: Any, make_trt_engine: Any) -> None:
    with pytest.raises(UnknownNameError, match="known: cuda:0"):
        load_engine(make_trt_engine(), device="cuda:3")


def test_a_core_of_the_dla_is_set_before_the_plan_is_read(devices: Any, make_trt_engine: Any, planes: Any) -> None:
    cuda, library = devices
    folder = make_trt_engine(device="dla:0", built_for=BUILT_FOR | {"dla": {"core": 0}})
    for device, core in ((None, 0), ("dla:1", 1)):
        with load_engine(folder, device=device) as engine:
            assert library.dla_core == core
            assert engine(planes(16, 16)).shape == (1, 1, 16, 16)
            assert engine.execution(width=16, height=16).device_name == f"Some GPU, DLA core {core}"
    assert cuda.launched == 0  # the DLA's work is not the GPU's to record
    with pytest.raises(DeviceError, match=r"needs DLA core 2.*has 2, from dla:0 on"):
        load_engine(folder, device="dla:2")


@pytest.mark.parametrize(("made", "given"), [("dla:0", "cuda:0"), ("cuda:0", "dla:0")])
def test_a_plan_for_the_dla_is_none_for_the_gpu(made: str, given: str, devices: Any, make_trt_engine: Any) -> None:
    dla = {"dla": {"core": 0}} if made == "dla:0" else {}
    with pytest.raises(InputError, match=rf"was built for {made}, .*\({given}\)"):
        load_engine(make_trt_engine(device=made, built_for=BUILT_FOR | dla), device=given)


def test_tensorrt_not_installed(devices: Any, make_trt_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tensorrt")
    monkeypatch.setattr(sys, "meta_path", [])
    with pytest.raises(MissingDependencyError, match=r"needs tensorrt, which is not installed .*postfilter\[gpu\]"):
        load_engine(make_trt_engine())


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "raise ImportError('libnvinfer.so.10: cannot open shared object file: No such file or directory')",
            r"the library libnvinfer\.so\.10 is missing",
        ),
        ("import ctypes; ctypes.CDLL('libcudart-absent.so.12')", r"the library libcudart-absent\.so\.12 is missing"),
        ("import a_part_that_is_missing", "its files do not fit together"),
    ],
)
def test_tensorrt_installed_but_broken(
    statement: str, told: str, devices: Any, make_trt_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt.py").write_text(statement)
    monkeypatch.delitem(sys.modules, "tensorrt")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingDependencyError, match=rf"needs tensorrt, which is installed but broken .*{told}"):
        load_engine(make_trt_engine())


def test_cuda_bindings_not_installed(devices: Any, make_trt_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "cuda.bindings.runtime")
    monkeypatch.setattr(sys, "meta_path", [])
    with pytest.raises(MissingDependencyError, match=r"needs cuda-bindings, which is not installed .*pip install"):
        load_engine(make_trt_engine())
