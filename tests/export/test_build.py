"""Engines built, verified, replaced, cached and refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from postfilter import models
from postfilter.errors import ArtefactError, InputError, OutputError, UnknownNameError, VerificationError, WeightsError
from postfilter.export import build_engine, cached_engine, engine_folder, engine_from, verify_engine
from postfilter.export.key import build_key, engine_parts
from postfilter.export.pictures import drawn_frames, read_frames
from postfilter.export.verify import reference_output
from postfilter.models.weights import save_weights
from postfilter.runtime import load_engine, read_manifest, sha256_of_file, write_manifest
from postfilter.runtime.pt import PROGRAM


@pytest.fixture(scope="module")
def built(weights_of, tmp_path_factory):
    """One fp16 engine for OpenVINO, of Fast ARCNN luma."""
    return build_engine(
        "fastarcnn-luma",
        precision="fp16",
        weights=weights_of("fastarcnn-luma"),
        output=tmp_path_factory.mktemp("built") / "engine",
    )


def test_the_manifest_tells_what_was_built_and_what_ran(built, weights_of):
    manifest = read_manifest(built.engine)
    assert manifest == built.manifest
    content = json.loads((built.engine / "engine.json").read_text())
    assert content["precision"] == "fp16"
    assert content["precision_run"] in ("fp16", "bf16", "fp32")
    assert content["precision_by_layer"]
    assert (content["layout"], content["sample_type"], content["bit_depth"]) == ("luma", "uint8", 8)
    assert (content["size"], content["size_multiple"], content["halo"]) == (None, 2, 14)
    assert (
        content["weights_sha256"] == models.load("fastarcnn-luma", weights=weights_of("fastarcnn-luma")).weights_sha256
    )
    assert content["files"] == {"model.onnx": sha256_of_file(built.engine / "model.onnx")}
    assert content["graph_sha256"] == content["files"]["model.onnx"]
    assert content["cost"]["params"] == 64837
    assert content["cost"]["kmac_per_px"] == pytest.approx(16.16)
    assert (content["cost"]["width"], content["cost"]["height"]) == (1920, 1080)
    assert 50 <= content["verification"]["psnr_db"] <= 100
    assert content["verification"]["frames"] == 4
    assert content["build_key"] == build_key(engine_parts(manifest))
    parts = engine_parts(manifest)
    assert parts["backend"] == "openvino" and parts["options"] == {"rewrite": True}
    assert parts["cpu_features"] and parts["weights"] == sha256_of_file(weights_of("fastarcnn-luma"))
    assert "5x5" in built.steps[0]


@pytest.mark.parametrize(
    ("name", "backend", "precision", "size"),
    [
        ("arcnn", "openvino", "fp32", None),
        ("fastarcnn", "onnxruntime", "fp16", None),
        ("fastarcnn-luma", "openvino", "fp32", (75, 51)),
        ("fastarcnn-luma", "torch", "fp32", None),
        ("fastarcnn-luma", "torch", "fp16", (64, 48)),
    ],
)
def test_every_backend_runs_what_was_built(weights_of, tmp_path, name, backend, precision, size):
    weights = weights_of(name)
    result = build_engine(
        name, precision=precision, backend=backend, size=size, weights=weights, output=tmp_path / "engine"
    )
    model = models.load(name, weights=weights)
    width, height = size or (87, 59)
    frame = np.random.default_rng(0).integers(0, 256, (1, model.card.channels, height, width), dtype=np.uint8)
    with load_engine(result.engine) as engine:
        assert engine.size == size
        filtered = engine(frame)
    expected = reference_output(model, frame)
    assert np.mean(expected != frame) > 0.5
    error = np.mean((filtered.astype(float) - expected) ** 2)
    assert error <= 255**2 / 10 ** ((70 if precision == "fp32" else 50) / 10)
    assert result.manifest.verification["psnr_db"] >= (70 if precision == "fp32" else 50)
    shown = (result.manifest.cost["width"], result.manifest.cost["height"])
    assert shown == ((1920, 1080) if size is None else tuple(side + side % 2 for side in size))


def test_without_the_rewrite_the_graph_is_pytorchs_own(weights_of, tmp_path):
    result = build_engine(
        "fastarcnn-luma", weights=weights_of("fastarcnn-luma"), output=tmp_path / "engine", rewrite=False
    )
    operators = {node.op_type for node in onnx.load(result.engine / "model.onnx").graph.node}
    assert "ConvTranspose" in operators
    assert result.steps == ()


def test_an_engine_of_another_model_is_refused_with_the_figures(built, weights_of):
    torch.manual_seed(1)
    other = models.load("fastarcnn-luma", weights=weights_of("fastarcnn-luma"))
    other.network.last.bias.data += 2 / 255
    with load_engine(built.engine) as engine:
        verification = verify_engine(engine, other, drawn_frames("luma")[:1])
    # Two codes off everywhere: 20 log10(255 / 2).
    assert verification.psnr_db == pytest.approx(42.1, abs=0.3)
    assert verification.max_abs_diff in (2, 3)
    assert verification.differing > 0.95


@pytest.mark.parametrize("rewrite", [True, False])
def test_programs_for_pytorch_are_rewritten_unless_asked_not_to_be(rewrite, weights_of, tmp_path):
    build_engine(
        "fastarcnn-luma",
        weights=weights_of("fastarcnn-luma"),
        backend="torch",
        output=tmp_path / "engine",
        rewrite=rewrite,
    )
    called = {str(node.target) for node in torch.export.load(tmp_path / "engine" / PROGRAM).graph.nodes}
    assert any("conv_transpose" in name for name in called) is not rewrite


def test_a_build_that_fails_verification_leaves_nothing(weights_of, tmp_path, monkeypatch):
    # The graph of other weights than the reference has: what a wrong rewrite would look like.
    def spoilt(graph, **how):
        graph.graph.initializer[-1].CopyFrom(
            numpy_helper.from_array(
                numpy_helper.to_array(graph.graph.initializer[-1]) + np.float32(0.1), graph.graph.initializer[-1].name
            )
        )
        return graph, ["spoilt"]

    monkeypatch.setattr("postfilter.export.preparation.rewritten", spoilt)
    with pytest.raises(VerificationError, match=r"dB against PyTorch.*70 dB"):
        build_engine("arcnn-luma", weights=weights_of("arcnn-luma"), output=tmp_path / "engine")
    assert list(tmp_path.iterdir()) == []


def test_fp16_too_coarse_as_bf16_computes_in_fp32(tmp_path, caplog):
    # Without the residual addition and with weights this large, bf16's 8 bits are not enough for 50 dB.
    torch.manual_seed(3)
    network = models.build("fastarcnn-luma")
    for k, layer in enumerate((network.base[0], network.base[2], network.base[4], network.base[6])):
        layer.weight.data *= 3 if k else 4
    save_weights(network, tmp_path / "w.safetensors", residual=True)
    result = build_engine(
        "fastarcnn-luma", precision="fp16", weights=tmp_path / "w.safetensors", output=tmp_path / "engine"
    )
    assert result.manifest.verification["psnr_db"] >= 50
    if "computed in bf16" not in caplog.text:
        pytest.skip("this CPU computes fp16 graphs in something finer than bf16")
    assert (result.manifest.precision, result.manifest.precision_run) == ("fp16", "fp32")
    # And so it does when it is loaded again.
    with load_engine(result.engine) as engine:
        assert engine.execution(width=64, height=48).precision_run == "fp32"
        again = verify_engine(
            engine, models.load("fastarcnn-luma", weights=tmp_path / "w.safetensors"), drawn_frames("luma")
        )
    assert again.psnr_db == pytest.approx(result.manifest.verification["psnr_db"], abs=0.5)


def test_a_users_clip_or_picture_can_be_verified_on(weights_of, clip_pair, tmp_path):
    result = build_engine(
        "fastarcnn",
        weights=weights_of("fastarcnn"),
        output=tmp_path / "engine",
        verify_with=clip_pair.coded,
    )
    assert result.manifest.verification["frames"] == 8
    assert result.manifest.verification["source"] == clip_pair.coded.name


@pytest.mark.parametrize(("layout", "channels"), [("luma", 1), ("rgb", 3)])
def test_frames_of_a_clip_are_cut_or_continued_to_a_fixed_size(clip_pair, layout, channels):
    whole = read_frames(clip_pair.coded, layout)
    assert {frame.shape for frame in whole} == {(1, channels, 128, 192)}
    (other,) = {frame.shape for frame in read_frames(clip_pair.coded, layout, size=(201, 99))}
    assert other == (1, channels, 99, 201)


@pytest.mark.parametrize("size", [None, (97, 33), (640, 360)])
def test_drawn_frames_are_coded_pictures_of_the_full_range(size):
    frames = drawn_frames("luma", size=size)
    assert all(np.array_equal(a, b) for a, b in zip(frames, drawn_frames("luma", size=size), strict=True))
    if size:
        assert {frame.shape[2:] for frame in frames} == {(size[1], size[0])}
    else:
        assert any(frame.shape[2] % 2 and frame.shape[3] % 2 for frame in frames)
    assert min(frame.min() for frame in frames) == 0
    assert max(frame.max() for frame in frames) == 255
    # Coded in blocks of 8: steps between columns are larger at the blocks' edges.
    jpeg = frames[0][0, 0].astype(float)
    steps = np.abs(np.diff(jpeg, axis=1)).mean(axis=0)
    assert steps[7::8].mean() > 1.05 * np.delete(steps, np.s_[7::8]).mean()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "nosuchmodel"}, UnknownNameError, "fastarcnn-luma"),
        ({"precision": "fp8"}, UnknownNameError, "fp32, fp16"),
        ({"backend": "nosuch"}, UnknownNameError, "openvino"),
        ({"device": "TOASTER"}, UnknownNameError, "CPU"),
        ({"weights": Path("absent.safetensors")}, WeightsError, "absent"),
        ({"verify_with": Path("absent.mp4")}, InputError, "absent.mp4"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(weights_of, tmp_path, arguments, error, message):
    given = {"model": "fastarcnn-luma", "weights": weights_of("fastarcnn-luma"), "output": tmp_path / "engine"}
    with pytest.raises(error, match=message):
        build_engine(**given | arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_refused_before_any_work(weights_of, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    steps: list[str] = []
    with pytest.raises(OutputError, match="not replaced"):
        build_engine("fastarcnn-luma", weights=weights_of("fastarcnn-luma"), output=tmp_path, on_step=steps.append)
    assert steps == []


class TestCache:
    @pytest.fixture(autouse=True)
    def _cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def test_a_model_is_built_once_unless_it_is_damaged_or_outdated(self, weights_of, tmp_path):
        steps: list[str] = []

        def engine() -> Path:
            steps.clear()
            return cached_engine("fastarcnn-luma", weights=weights_of("fastarcnn-luma"), on_step=steps.append)

        folder = engine()
        assert steps[0] == "building the engine of fastarcnn-luma: there is none yet"
        assert folder.is_relative_to(tmp_path / "cache" / "postfilter" / "engines")
        assert engine() == folder
        assert steps == []
        (folder / "model.onnx").write_bytes(b"damaged")
        assert engine() == folder
        assert steps[0].endswith("files: unusable -> whole")
        write_manifest(dataclasses.replace(read_manifest(folder), backend_version="2020.1"), folder)
        assert engine() == folder
        assert "backend_version: 2020.1 -> " in steps[0]
        assert read_manifest(folder).backend_version != "2020.1"

    def test_a_models_name_is_the_model_in_every_folder(self, weights_of, built, tmp_path, monkeypatch, caplog):
        monkeypatch.chdir(tmp_path)
        shutil.copytree(built.engine, "fastarcnn-luma")
        here = Path("fastarcnn-luma")
        assert engine_folder("./fastarcnn-luma") == engine_folder(here) == engine_folder(here / "engine.json") == here
        assert caplog.text == ""
        by_name = engine_folder("fastarcnn-luma", weights=weights_of("fastarcnn-luma"))
        assert by_name.is_relative_to(tmp_path / "cache")
        assert "fastarcnn-luma is taken for the model; the engine in this folder is ./fastarcnn-luma" in caplog.text

    def test_engine_from_takes_a_model_or_a_folder(self, weights_of, built):
        frame = drawn_frames("luma")[1]
        with engine_from("fastarcnn-luma", precision="fp16", weights=weights_of("fastarcnn-luma")) as by_name:
            expected = by_name(frame)
        with engine_from(built.engine, bit_depth=8) as by_folder:
            np.testing.assert_array_equal(by_folder(frame), expected)

    def test_what_is_neither_is_told(self, tmp_path):
        with pytest.raises(InputError, match=r"neither a model .*fastarcnn.* nor a folder"):
            engine_from(str(tmp_path / "absent"))
        with pytest.raises(ArtefactError, match="does not exist"):
            engine_from(tmp_path / "absent")
