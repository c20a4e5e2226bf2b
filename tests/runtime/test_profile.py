from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from postfilter.errors import ArtefactError, InputError
from postfilter.runtime import load_engine, measure_speed, profile, profile_engine
from postfilter.runtime.ceiling import compute_tflops
from postfilter.runtime.ceiling_graphs import WORKS
from postfilter.runtime.macs import node_macs
from postfilter.runtime.measure import percentiles
from postfilter.runtime.overhead import measure_overhead

# conv0: 32x24 positions of 8 x 1 x 5x5; conv1: 8 x 8 x 3x3; conv2: 4 x 8 x 3x3
TINY_MACS = {"conv0": 32 * 24 * 8 * 25, "conv1": 32 * 24 * 64 * 9, "conv2": 32 * 24 * 32 * 9}


@pytest.fixture(autouse=True)
def measured_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's rate from one kind of work and a tenth of a second."""
    monkeypatch.setattr(profile, "compute_tflops", partial(compute_tflops, seconds=0.1, works=WORKS[1:2]))


def test_multiply_accumulates_of_a_graph(tiny_graph: Callable[..., onnx.ModelProto]) -> None:
    assert node_macs(tiny_graph(), (1, 1, 48, 64)) == TINY_MACS
    assert node_macs(tiny_graph(size=(64, 48)), (1, 1, 48, 64)) == TINY_MACS
    assert node_macs(tiny_graph(), (3, 1, 48, 64)) == {name: 3 * count for name, count in TINY_MACS.items()}


def test_multiply_accumulates_of_a_transposed_convolution(tiny_graph: Callable[..., onnx.ModelProto]) -> None:
    """Each input sample is spread over one kernel: not one kernel for each sample of the larger output."""
    graph = tiny_graph()
    nodes = graph.graph.node
    for index in reversed(range(len(nodes))):
        if nodes[index].name in ("conv2", "shuffle"):
            del nodes[index]
    weight = next(each for each in graph.graph.initializer if each.name == "w2")
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight).transpose(1, 0, 2, 3)[:, :1], "w2"))
    bias = next(each for each in graph.graph.initializer if each.name == "b2")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias)[:1], "b2"))
    up = helper.make_node(
        "ConvTranspose", ["p1", "w2", "b2"], ["y"], name="up", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]
    )
    nodes.insert(6, up)
    onnx.checker.check_model(graph, full_check=True)
    assert node_macs(graph, (1, 1, 48, 64))["up"] == 32 * 24 * 8 * 9


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "torch"])
def test_layers_are_timed_and_their_arithmetic_is_found(backend: str, engines_of_each_backend: dict[str, Path]) -> None:
    got = profile_engine(engines_of_each_backend[backend], size=(64, 48), frames=3).as_json()
    layers = got["layers"]
    assert sum(layer["mmac"] for layer in layers) == pytest.approx(sum(TINY_MACS.values()) / 1e6)
    heavy = [layer for layer in layers if layer["mmac"]]
    assert sorted(layer["mmac"] for layer in heavy) == pytest.approx(
        sorted(count / 1e6 for count in TINY_MACS.values())
    )
    rates = got["limit"]["compute_tflops_by_precision"]
    for layer in heavy:
        assert layer["tflops"] == pytest.approx(2 * layer["mmac"] / layer["ms"] / 1e3)
        assert layer["share"] == pytest.approx(layer["tflops"] / rates["fp32"])
    assert all(layer["share"] is None and layer["bound"] == "bandwidth" for layer in layers if not layer["mmac"])
    assert all(layer["ms"] > 0 and layer["precision"] == "fp32" and layer["type"] for layer in heavy)
    assert got["backend"] == backend


def test_the_figures_of_a_profile_fit_together(engines_of_each_backend: dict[str, Path]) -> None:
    steps: list[str] = []
    got: dict[str, Any] = profile_engine(
        engines_of_each_backend["openvino"], seconds=0.3, threads=1, requests=2, on_step=steps.append
    ).as_json()
    assert (got["width"], got["height"], got["threads"], got["requests"]) == (720, 480, 1, 2)
    latency, limit = got["latency_ms"], got["limit"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    assert got["tflops"] == pytest.approx(2 * 0.2e3 * 720 * 480 * got["fps"] / 1e12)
    assert got["peak_memory_mb"] > 720 * 480 * 8 / 2**20
    assert limit["compute_tflops"] >= got["tflops"]
    assert 0 < limit["bound_ms"] <= latency["p50"]
    assert limit["bandwidth_gbs"] > 0.1
    assert limit["share"] == pytest.approx(got["tflops"] / limit["compute_tflops"])
    assert limit["precision"] == "fp32" and limit["bound"] in ("compute", "bandwidth")
    assert {"fp32", "int8"} <= set(limit["compute_tflops_by_precision"])
    assert 0 < got["overhead_ms"] < latency["p99"] and 0 < got["overhead_share"] < 1
    assert [each["name"] for each in got["power_sensors"]] == ["nvml", "rapl", "tegrastats", "jtop", "ina3221"]
    assert (got["power"] is None) == (not any(each["available"] for each in got["power_sensors"]))
    assert len(steps) == 4


def test_a_fixed_size_is_measured_and_no_other(make_engine: Callable[..., Path]) -> None:
    folder = make_engine(size=(64, 48))
    assert profile_engine(folder, frames=1).width == 64
    with pytest.raises(InputError, match="64x48"):
        profile_engine(folder, size=(128, 96), frames=1)


def test_a_number_of_frames_is_kept(engines_of_each_backend: dict[str, Path]) -> None:
    told: list[tuple[float, float]] = []
    with load_engine(engines_of_each_backend["openvino"]) as engine:
        speed = measure_speed(
            engine, width=32, height=32, frames=7, on_progress=lambda done, total, **figures: told.append((done, total))
        )
    assert (speed.frames, speed.stream_frames) == (7, 7)
    assert told[-1] == (14, 14)
    assert speed.fps > 0


def test_percentiles() -> None:
    assert percentiles([float(value) for value in range(101)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_what_a_call_costs_outside_the_backend(engines_of_each_backend: dict[str, Path]) -> None:
    """With a backend that takes 20 ms more, the same time is spent outside it."""
    with load_engine(engines_of_each_backend["openvino"]) as engine:
        compiled = engine._compiled_for(1, 66, 50)
        infer = compiled.infer

        def slower(samples: Any) -> Any:
            time.sleep(0.02)
            return infer(samples)

        usual = measure_overhead(engine, width=66, height=50, frames=20)
        compiled.infer = slower  # type: ignore[method-assign]
        slow = measure_overhead(engine, width=66, height=50, frames=20)
    assert 0 < usual.overhead_ms < usual.call_ms < 20 < slow.call_ms
    assert slow.overhead_ms < 5
    assert slow.share == pytest.approx(slow.overhead_ms / slow.call_ms, rel=0.5)


def test_measuring_the_overhead_leaves_the_engine_as_it_was(make_engine: Callable[..., Path]) -> None:
    with load_engine(make_engine()) as engine:
        measure_overhead(engine, width=64, height=48, frames=3)
        assert "infer" not in vars(engine._compiled_for(1, 64, 48))


def test_the_stream_is_what_power_is_measured_of(make_engine: Callable[..., Path]) -> None:
    """The meter runs while the counted frames do: not while compiling, nor during single frames."""
    events: list[tuple[str, float]] = []

    @contextmanager
    def meter() -> Iterator[None]:
        events.append(("begin", time.perf_counter()))
        yield
        events.append(("end", time.perf_counter()))

    with load_engine(make_engine(), requests=2) as engine:
        speed = measure_speed(
            engine,
            width=64,
            height=48,
            frames=30,
            around_stream=meter(),
            on_progress=lambda done, total, **figures: events.append((next(iter(figures)), time.perf_counter())),
        )
    names = [name for name, _ in events]
    assert names == ["ms"] * 30 + ["begin"] + ["fps"] * 30 + ["end"]
    seconds = events[-1][1] - events[30][1]
    assert speed.stream_frames / seconds == pytest.approx(speed.fps, rel=0.2)


def test_a_damaged_engine_is_not_measured(make_engine: Callable[..., Path]) -> None:
    folder = make_engine()
    (folder / "model.onnx").write_bytes(b"")
    with pytest.raises(ArtefactError, match="damaged"):
        profile_engine(folder)
