"""Every part of the key changes the key, and is named when it does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from postfilter.errors import UnknownNameError, WeightsError
from postfilter.export.key import build_key, build_options, differences, engine_parts, request_parts, with_key
from postfilter.export.plan_options import PlanOptions
from postfilter.runtime import EngineManifest

CPU = {
    "model": "arcnn",
    "weights": "a" * 64,
    "residual": None,
    "precision": "fp32",
    "size": None,
    "options": {"rewrite": True},
    "backend": "openvino",
    "backend_version": "2026.4.1",
    "device": "CPU",
    "platform": "linux-x86_64",
    "hardware": "Some CPU",
    "cpu_features": ["avx2", "avx512f"],
    "postfilter": "0.1.0",
    "code": "c" * 64,
    "schema": 1,
}
GPU = {name: value for name, value in CPU.items() if name != "cpu_features"} | {
    "backend": "tensorrt",
    "device": "cuda:0",
    "compute_capability": "8.7",
    "driver": "540.4",
    "cuda": "12.6",
    "options": build_options("tensorrt"),
}
OTHER = {
    "model": "fastarcnn",
    "weights": "b" * 64,
    "residual": True,
    "precision": "fp16",
    "size": [720, 480],
    "backend": "onnxruntime",
    "backend_version": "2026.4.2",
    "device": "GPU",
    "platform": "linux-aarch64",
    "hardware": "Another",
    "cpu_features": ["avx2"],
    "compute_capability": "8.9",
    "driver": "550.1",
    "cuda": "12.8",
    "postfilter": "0.2.0",
    "code": "d" * 64,
    "schema": 2,
}


def test_the_key_is_of_the_parts_not_of_their_order():
    assert build_key(CPU) == build_key(dict(reversed(CPU.items())))
    # A manifest read back from JSON has a list where a tuple was.
    assert build_key(CPU | {"size": (8, 6)}) == build_key(CPU | {"size": json.loads("[8, 6]")})
    assert differences(CPU | {"size": (8, 6)}, CPU | {"size": [8, 6]}) == []


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        *((CPU, name) for name in CPU if name != "options"),
        *((GPU, name) for name in ("compute_capability", "driver", "cuda", "hardware", "backend_version")),
    ],
)
def test_every_part_counts_and_is_named(parts, name):
    changed = parts | {name: OTHER[name]}
    assert build_key(changed) != build_key(parts)
    (change,) = differences(parts, changed)
    assert (change.part, change.was, change.now) == (name, parts[name], OTHER[name])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rewrite", build_options("tensorrt", rewrite=False)),
        ("workspace_mb", build_options("tensorrt", plan_options=PlanOptions(workspace_mb=64))),
        ("effort", build_options("tensorrt", plan_options=PlanOptions(effort=5))),
        ("compatibility", build_options("tensorrt", plan_options=PlanOptions(compatibility="ampere_plus"))),
        ("version_compatible", build_options("tensorrt", plan_options=PlanOptions(version_compatible=True))),
        ("largest", build_options("tensorrt", plan_options=PlanOptions(largest=(8192, 4320)))),
        ("calibration", build_options("tensorrt", calibration="e" * 64)),
    ],
)
def test_every_option_counts_and_is_named(name, options):
    changed = GPU | {"options": options}
    assert build_key(changed) != build_key(GPU)
    assert [change.part for change in differences(GPU, changed)] == [f"options.{name}"]


def test_options_of_tensorrt_are_of_no_account_elsewhere():
    assert build_options("openvino", plan_options=PlanOptions(effort=5)) == {"rewrite": True}


def test_changes_read_as_what_old_new():
    changed = CPU | {"backend_version": "2026.5.0", "size": [720, 480], "weights": "b" * 64, "driver": "550"}
    assert [str(change) for change in differences(CPU, changed | {"cpu_features": ["avx2"]})] == [
        "weights: aaaaaaaaaaaa… -> bbbbbbbbbbbb…",
        "size: dynamic -> 720x480",
        "backend_version: 2026.4.1 -> 2026.5.0",
        "cpu_features: avx2 avx512f -> avx2",
        "driver: not told -> 550",
    ]


def test_parts_go_through_a_manifest_and_the_graph_counts_too():
    manifest = EngineManifest(
        model="arcnn",
        layout="rgb",
        backend="openvino",
        backend_version="as the library tells it",
        device="CPU",
        precision="fp32",
        graph_sha256="1" * 64,
    )
    sealed = with_key(manifest, CPU)
    assert engine_parts(sealed) == CPU | {"graph": "1" * 64}
    assert sealed.build_key == build_key(engine_parts(sealed))
    # None of them is told twice.
    assert not sealed.key_parts.keys() & sealed.as_json().keys()
    assert with_key(EngineManifest(**vars(manifest) | {"graph_sha256": "2" * 64}), CPU).build_key != sealed.build_key
    # The graph is not known before an engine is built, and follows from the rest.
    assert differences(engine_parts(sealed), CPU) == []


def test_what_a_plan_is_bound_to_is_told_once():
    bound = {"platform": "linux-x86_64", "gpu": "Some GPU", "compute_capability": "8.9", "driver": "1", "cuda": "12.8"}
    manifest = EngineManifest(
        model="arcnn",
        layout="rgb",
        backend="tensorrt",
        backend_version="10.3.0",
        device="cuda:0",
        precision="fp32",
        built_for=bound | {"tensorrt": "10.3.0"},
    )
    parts = engine_parts(with_key(manifest, GPU | {"backend_version": "10.3.0"}))
    changed = [change.part for change in differences(parts, GPU | {"backend_version": "10.3.0"})]
    assert changed == ["hardware", "compute_capability", "driver", "cuda"]


def test_a_request_depends_on_what_the_weights_file_holds_not_on_its_name(tmp_path: Path):
    def parts(content: bytes, name: str) -> dict:
        (tmp_path / name).write_bytes(content)
        return request_parts("arcnn", precision="fp32", backend="openvino", device="CPU", weights=tmp_path / name)

    assert parts(b"one", "a") == parts(b"one", "b")
    (change,) = differences(parts(b"one", "a"), parts(b"two", "a"))
    assert change.part == "weights"


def test_a_request_tells_the_backend_and_the_processor_here():
    import openvino

    parts = request_parts("arcnn", precision="fp32", backend="openvino", device="CPU")
    assert openvino.__version__.startswith(parts["backend_version"])
    assert parts["hardware"] and parts["cpu_features"]
    assert json.loads(json.dumps(parts)) == parts


def test_a_request_for_what_there_is_not(tmp_path: Path):
    with pytest.raises(UnknownNameError, match="fastarcnn-luma"):
        request_parts("nosuchmodel", precision="fp32", backend="openvino", device="CPU")
    with pytest.raises(WeightsError, match="absent"):
        request_parts("arcnn", precision="fp32", backend="openvino", device="CPU", weights=tmp_path / "absent")
