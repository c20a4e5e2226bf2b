"""What TensorRT's builder is told, by a stand-in that writes it down: no plan is built where there is no GPU.

The names are those of the real bindings: `runtime.trt_api` is compared with them by a test of its own.
"""

from __future__ import annotations

import enum
import logging
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto

from postfilter import models
from postfilter.errors import ArtefactError, DeviceError, InputError
from postfilter.export import PlanOptions, rewrite, to_graph
from postfilter.export.graph import graph_bytes
from postfilter.export.plan import Workshop, build_plan, open_workshop
from postfilter.export.plan_elsewhere import trtexec_command
from postfilter.export.plan_options import frame_range
from postfilter.quantize import to_fp16
from postfilter.runtime import cuda_probe, trt_library
from postfilter.runtime.cuda_probe import CudaProbe
from postfilter.runtime.trt_target import Target

ONE_SIZE = frame_range(channels=1, multiple=2, size=(64, 48), options=PlanOptions())


class BuilderDouble:
    """`tensorrt`, `Builder`, network, parser and configuration in one. Layers are the graph's nodes."""

    def __init__(self, version: str = "10.3.0", *, cores: int = 2, dla_takes: Callable[[str], bool] = bool) -> None:
        self.__version__ = version
        self.num_DLA_cores = cores
        self.dla_takes = dla_takes
        self.told: dict[str, Any] = {"flags": set(), "parser": set(), "gpu": []}
        self.profiling_verbosity = self.builder_optimization_level = self.default_device_type = self.DLA_core = None
        self.hardware_compatibility_level: Any = "NONE"
        newer = int(version.split(".")[0]) >= 11
        flags = "GPU_FALLBACK TF32 VERSION_COMPATIBLE" + ("" if newer else " FP16")
        levels = "NONE AMPERE_PLUS" + (" SAME_COMPUTE_CAPABILITY" if newer else "")
        self.BuilderFlag = enum.Enum("BuilderFlag", flags)
        self.HardwareCompatibilityLevel = enum.Enum("HardwareCompatibilityLevel", levels)
        self.OnnxParserFlag = enum.Enum("OnnxParserFlag", "NATIVE_INSTANCENORM" + (" ADJUST_FOR_DLA" if newer else ""))
        self.DataType = types.SimpleNamespace(UINT8=TensorProto.UINT8)
        self.DeviceType = enum.Enum("DeviceType", "GPU DLA")
        self.LayerType = types.SimpleNamespace(CONVOLUTION="Conv")
        self.MemoryPoolType = enum.Enum("MemoryPoolType", "WORKSPACE")
        self.NetworkDefinitionCreationFlag = enum.IntEnum("Flag", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1})
        self.ProfilingVerbosity = enum.Enum("ProfilingVerbosity", "DETAILED")

    class ILogger:
        Severity = enum.IntEnum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

    def Builder(self, logger: Any) -> BuilderDouble:  # noqa: N802
        return self

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802
        def parse(content: bytes) -> bool:
            self.graph = onnx.load_from_string(content).graph
            self.layers = [types.SimpleNamespace(name=node.name, type=node.op_type) for node in self.graph.node]
            self.num_layers = len(self.layers)
            return True

        return types.SimpleNamespace(parse=parse, set_flag=self.told["parser"].add, num_errors=0)

    num_inputs = num_outputs = 1

    def get_input(self, index: int) -> Any:
        value = self.graph.input[index]
        return types.SimpleNamespace(name=value.name, dtype=value.type.tensor_type.elem_type)

    def get_output(self, index: int) -> Any:
        value = self.graph.output[index]
        return types.SimpleNamespace(name=value.name, dtype=value.type.tensor_type.elem_type)

    def get_layer(self, index: int) -> Any:
        return self.layers[index]

    def create_network(self, flags: int) -> BuilderDouble:
        self.told["network"] = flags
        return self

    def create_builder_config(self) -> BuilderDouble:
        return self

    def create_optimization_profile(self) -> Any:
        return types.SimpleNamespace(set_shape=lambda *shapes: self.told.update(profile=shapes))

    def add_optimization_profile(self, profile: Any) -> int:
        return 0

    def set_flag(self, flag: Any) -> None:
        self.told["flags"].add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self.told["cleared"] = flag.name

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.told["workspace"] = size

    def can_run_on_DLA(self, layer: Any) -> bool:  # noqa: N802
        return self.dla_takes(layer.name)

    def set_device_type(self, layer: Any, device: Any) -> None:
        self.told["gpu" if device.name == "GPU" else "dla"].append(layer.name)

    def create_timing_cache(self, blob: bytes) -> bytes:
        return blob

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.told.setdefault("timings", []).append(cache)
        return cache != b"of another GPU"

    def get_timing_cache(self) -> Any:
        return types.SimpleNamespace(serialize=lambda: b"measured")

    def build_serialized_network(self, network: Any, config: Any) -> bytes:
        return b"plan"


@pytest.fixture(autouse=True)
def one_logger_a_test() -> Iterator[None]:
    yield
    trt_library._make_logger.cache_clear()


@pytest.fixture(scope="module")
def rewritten(weights_of: Callable[..., Path]) -> onnx.ModelProto:
    return rewrite(to_graph(models.load("fastarcnn-luma", weights=weights_of("fastarcnn-luma")), size=(64, 48)))[0]


@pytest.fixture(scope="module")
def graph(rewritten: onnx.ModelProto) -> bytes:
    return graph_bytes(to_fp16(rewritten))


def workshop(library: Any, *, core: int | None = None) -> Workshop:
    target = Target(
        tensorrt=library.__version__, gpu="Orin", compute_capability="8.7", platform="linux", driver="", cuda="12.6"
    )
    cuda: Any = types.SimpleNamespace(use=lambda: None)
    return Workshop(library=library, cuda=cuda, target=target, dla_core=core)


@pytest.mark.parametrize("version", ["10.3.0", "11.4.1"])
def test_precision_is_the_graphs_own(version: str, graph: bytes, tmp_path: Path) -> None:
    library = BuilderDouble(version)
    plan = build_plan(workshop(library), graph, ONE_SIZE, options=PlanOptions(workspace_mb=64), timings=tmp_path)
    assert library.told["network"] == 1 << 1
    assert (library.told["flags"], library.told["cleared"]) == (set(), "TF32")
    assert library.told["workspace"] == 64 * 2**20
    assert library.told["profile"] == ("samples", (1, 1, 48, 64), (1, 1, 48, 64), (1, 1, 48, 64))
    assert library.default_device_type is None and "dla" not in plan.built_for
    assert plan.content == b"plan" and plan.built_for["tensorrt"] == version


def test_timings_are_taken_up_and_replaced_where_they_do_not_fit(graph: bytes, tmp_path: Path) -> None:
    for expected in ([b""], [b"measured"]):
        library = BuilderDouble()
        build_plan(workshop(library), graph, ONE_SIZE, options=PlanOptions(), timings=tmp_path)
        assert library.told["timings"] == expected
    from postfilter.export.timing_cache import timings_path, write_timings

    write_timings(timings_path(tmp_path, workshop(library).target), b"of another GPU")
    library = BuilderDouble()
    build_plan(workshop(library), graph, ONE_SIZE, options=PlanOptions(), timings=tmp_path)
    assert library.told["timings"] == [b"of another GPU", b""]


def test_compatibility_is_asked_for(graph: bytes) -> None:
    library = BuilderDouble("11.4.1")
    options = PlanOptions(compatibility="same_compute_capability", version_compatible=True)
    build_plan(workshop(library), graph, ONE_SIZE, options=options)
    assert library.told["flags"] == {"VERSION_COMPATIBLE"}
    assert library.hardware_compatibility_level.name == "SAME_COMPUTE_CAPABILITY"
    with pytest.raises(InputError, match="install TensorRT 11"):
        build_plan(workshop(BuilderDouble("10.3.0")), graph, ONE_SIZE, options=options)


@pytest.mark.parametrize(
    ("version", "network", "flags", "parser"),
    [("10.3.0", 0, {"GPU_FALLBACK", "FP16"}, set()), ("11.4.1", 2, {"GPU_FALLBACK"}, {"ADJUST_FOR_DLA"})],
)
def test_the_dla_gets_the_network_and_the_gpu_the_samples(
    version: str, network: int, flags: set[str], parser: set[str], graph: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    library = BuilderDouble(version, dla_takes=lambda name: "last" not in name)
    with caplog.at_level(logging.WARNING):
        plan = build_plan(workshop(library, core=1), graph, ONE_SIZE, options=PlanOptions())
    assert library.told["network"] == network
    assert library.told["flags"] == flags and {each.name for each in library.told["parser"]} == parser
    assert library.default_device_type is library.DeviceType.DLA and library.DLA_core == 1
    assert library.told["gpu"] and all(name.startswith(("head.", "tail.")) for name in library.told["gpu"])
    told = plan.built_for["dla"]
    assert (told["core"], told["taken"]) == (1, told["convolutions"] - 1)
    assert [name for name in told["left"] if "last" in name] == told["left"] and told["left"][0] in caplog.text


def test_a_dla_that_takes_nothing_is_refused(graph: bytes) -> None:
    library = BuilderDouble(dla_takes=lambda name: False)
    with pytest.raises(ArtefactError, match=r"none of the graph's \d convolutions .*leave --dla out"):
        build_plan(workshop(library, core=0), graph, ONE_SIZE, options=PlanOptions())


@pytest.mark.parametrize(("cores", "told"), [(0, "this machine has none"), (2, "has 2, from dla:0 on")])
def test_a_core_that_is_not_here(cores: int, told: str, graph: bytes) -> None:
    with pytest.raises(DeviceError, match=rf"needs DLA core 2.*{told}.*up to 10\.7"):
        build_plan(workshop(BuilderDouble(cores=cores), core=2), graph, ONE_SIZE, options=PlanOptions())


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"precision": "fp32"}, "fp16 and int8, not in fp32: give --fp16"),
        ({"precision": "bf16"}, "not in bf16"),
        ({"size": None}, "give --size"),
        ({"size": (9000, 480)}, "up to 8192 samples, and the frame is 9000x480"),
        ({"options": PlanOptions(compatibility="ampere_plus")}, "which have no DLA"),
    ],
)
def test_what_no_dla_takes_is_told_before_a_gpu_is_looked_for(
    asked: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_probe, "probe_cuda", lambda: pytest.fail("the driver was asked"))
    given: dict[str, Any] = {"model": "fastarcnn", "precision": "fp16", "size": (64, 48)} | asked
    with pytest.raises(InputError, match=told):
        open_workshop("dla:0", **given)


def test_int8_on_the_dla_of_tensorrt_10(monkeypatch: pytest.MonkeyPatch) -> None:
    from postfilter.export.plan_dla import check_dla_version

    check_dla_version(precision="fp16", tensorrt="10.3.0")
    check_dla_version(precision="int8", tensorrt="11.4.1")
    with pytest.raises(InputError, match=r"TensorRT 10\.3\.0 takes no graph with quantization nodes"):
        check_dla_version(precision="int8", tensorrt="10.3.0")


@pytest.mark.parametrize("device", ["dla:x", "dla:-1", "dla0"])
def test_a_name_that_is_no_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = cuda_probe.CudaDevice(index=0, name="Orin", compute_capability="8.7", memory_mb=8192)
    monkeypatch.setattr(cuda_probe, "probe_cuda", lambda: CudaProbe(devices=(gpu,)))
    with pytest.raises(ValueError, match="known: cuda:0"):
        open_workshop(device, model="fastarcnn", precision="fp16", size=(64, 48))


def test_the_command_for_another_machine() -> None:
    frames = frame_range(channels=3, multiple=2, size=None, options=PlanOptions())
    assert trtexec_command(frames) == (
        "trtexec --onnx=graph/model.onnx --stronglyTyped --noTF32 --saveEngine=model.plan "
        "--minShapes=samples:1x3x16x16 --optShapes=samples:1x3x1080x1920 --maxShapes=samples:1x3x4096x4096"
    )


@pytest.mark.parametrize("half", [False, True])
def test_bytes_stand_next_to_casts_alone(half: bool, rewritten: onnx.ModelProto) -> None:
    """TensorRT takes uint8 at a network's edges, and there next to a cast only."""
    made = to_fp16(rewritten) if half else rewritten
    graph = made.graph
    samples, filtered = graph.input[0].name, graph.output[0].name
    assert {node.op_type for node in graph.node if samples in node.input} == {"Cast"}
    assert {node.op_type for node in graph.node if filtered in node.output} == {"Cast"}
    values = onnx.shape_inference.infer_shapes(made).graph.value_info
    assert len(values) > 10
    assert {each.type.tensor_type.elem_type for each in values} <= {TensorProto.FLOAT, TensorProto.FLOAT16}
