"""evaluate-model as it is typed, on an engine made here from random weights."""

import json
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from postfilter import models
from postfilter.cli import evaluate_model
from postfilter.models.network_filter import NetworkFilter
from postfilter.models.registry import MODELS
from postfilter.models.weights import save_weights
from postfilter.quality import Method, evaluate_methods, jpeg_round_trip
from postfilter.video.reading.qp import QpReader


class Louder(nn.Module):
    """Adds a fifth of the QP to the picture, in code values."""

    def __init__(self, *, channels: int, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels + len(inputs), channels, 3, padding=1, bias=False)
        with torch.no_grad():
            self.mix.weight.zero_()
            self.mix.weight[0, 1, 1, 1] = 0.04

    def forward(self, x):
        return self.mix(x)


def random_weights(model: str, path: Path) -> Path:
    """Weights of small corrections: seeded, so that figures differ from not filtering and from nothing else."""
    torch.manual_seed(7)
    network = models.build(model)
    with torch.no_grad():
        for parameter in list(network.parameters())[-2:]:
            parameter.mul_(0.05)
    save_weights(network, path, residual=True)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return random_weights("fastarcnn-luma", tmp_path_factory.mktemp("weights") / "luma.safetensors")


@pytest.fixture(scope="module")
def engine(weights, tmp_path_factory) -> Path:
    from postfilter.export import build_engine

    return build_engine("fastarcnn-luma", weights=weights, output=tmp_path_factory.mktemp("engines") / "luma").engine


@pytest.fixture
def evaluate(monkeypatch, capsys):
    """Run the command; return its exit status, what --json printed (or the text) and stderr."""

    def run(*arguments, as_json: bool = True):
        extra = ["--json"] if as_json else []
        monkeypatch.setattr(sys, "argv", ["evaluate-model", *map(str, arguments), *extra])
        status = evaluate_model.main()
        out, err = capsys.readouterr()
        return status, json.loads(out) if as_json and out else out, err

    return run


def test_clips(evaluate, engine, clip_pair):
    status, result, _ = evaluate(engine, "--clips", clip_pair.clean, "--codec", "h264", "--qp", 32, "--frames", 6)
    assert status == 0
    (row,) = result["rows"]
    assert (row["clip"], row["codec"], row["qp"], row["frames"]) == ("clean", "h264", 32, 6)
    assert row["delta_psnr"] == pytest.approx(row["psnr_filtered"] - row["psnr_decoded"])
    assert 0.001 < abs(row["delta_psnr"]) < 5 and 25 < row["psnr_decoded"] < 45 and row["kbps"] > 10
    assert result["average"]["delta_psnr"] == pytest.approx(row["delta_psnr"])
    assert result["engine"] == {"model": "fastarcnn-luma", "precision": "fp32", "backend": "openvino"}


def test_several_codecs_qps_models_and_metrics_in_one_command(evaluate, engine, luma_engine, clip_pair, tmp_path):
    options = ["--codec", "h264", "hevc", "--qp", 27, 32, 37, 42, "--frames", 3, "--metrics", "psnr", "xpsnr"]
    options += ["--keep-coded", tmp_path / "coded"]
    status, result, err = evaluate(engine, luma_engine, "--clips", clip_pair.clean, *options)
    assert status == 0 and err == ""
    assert [(row["codec"], row["qp"], row["method"]) for row in result["rows"]] == [
        (codec, qp, method)
        for codec in ("h264", "hevc")
        for qp in (27, 32, 37, 42)
        for method in ("fastarcnn-luma", "smooth")
    ]
    assert all(row["xpsnr_filtered"] > 20 for row in result["rows"])
    assert [(each["method"], each["told"]) for each in result["engines"]] == [("fastarcnn-luma", []), ("smooth", [])]
    assert len(result["averages"]) == 16 and len(result["bd"]) == 8
    assert len(list((tmp_path / "coded").iterdir())) == 8
    status, text, _ = evaluate(engine, engine, "--clips", clip_pair.clean, *options, as_json=False)
    assert status == 0 and "BD-rate" in text and "fastarcnn-luma fp32 openvino 2" in text
    assert text.count("XPSNR in dB") == 16 and text.count("clean ") > 16


def test_a_model_that_reads_the_qp_is_told_it_unless_blind(evaluate, clip_pair, tmp_path, monkeypatch):
    from postfilter.export import build_engine

    module = types.ModuleType("louder_network")
    module.Louder = Louder
    monkeypatch.setitem(sys.modules, "louder_network", module)
    card = models.ModelCard(
        name="louder",
        architecture="louder_network:Louder",
        layout="luma",
        residual=True,
        size_multiple=1,
        halo=1,
        summary="A network for this test.",
        inputs=("qp",),
    )
    monkeypatch.setitem(MODELS, "louder", card)
    save_weights(models.build("louder"), tmp_path / "louder.safetensors", residual=True)
    engine = build_engine("louder", weights=tmp_path / "louder.safetensors", output=tmp_path / "louder").engine
    options = ("--clips", clip_pair.clean, "--codec", "h264", "--qp", 22, 40, "--frames", 3)
    _, told, _ = evaluate(engine, *options)
    _, blind, _ = evaluate(engine, *options, "--blind")
    assert (told["engines"][0]["told"], blind["engines"][0]["told"]) == (["qp"], [])
    losses = [-row["delta_psnr"] for row in told["rows"]]
    losses_blind = [-row["delta_psnr"] for row in blind["rows"]]
    assert all(abs(one - other) > 0.01 for one, other in zip(losses, losses_blind, strict=True))
    made = NetworkFilter(models.load("louder", weights=tmp_path / "louder.safetensors"))
    by_torch = evaluate_methods(
        clip_pair.clean,
        [Method(name="louder", filter=made, reads_qp=True)],
        codecs=["h264"],
        qps=[22, 40],
        frames=3,
        watch=QpReader,
    )
    assert [-row["delta_psnr"] for row in by_torch["rows"]] == pytest.approx(losses, abs=1e-3)


def test_a_published_set_by_its_layout(evaluate, engine, tmp_path, photograph):
    for folder, name in (("reference_images", "I01.BMP"), ("distorted_images", "i01_10_3.bmp")):
        (tmp_path / folder).mkdir()
        picture = photograph[60:140, 150:261]
        picture = picture if folder == "reference_images" else jpeg_round_trip(picture, quality=12)
        cv2.imwrite(str(tmp_path / folder / name), np.ascontiguousarray(picture[..., ::-1]))
    status, result, _ = evaluate(engine, "--images", tmp_path, "--dataset", "tid2008")
    assert status == 0
    assert [(row["dataset"], row["quality"]) for row in result["rows"]] == [("tid2008", 3), ("tid2008", 3)]
    status, _, err = evaluate(engine, "--images", tmp_path, "--dataset", "mcl-jci")
    assert status == 1 and "holds no files of MCL-JCI" in err


def test_pictures_in_luma(evaluate, engine, tmp_path, photograph):
    folder = tmp_path / "two"
    folder.mkdir()
    for number, top in enumerate((60, 200)):
        cv2.imwrite(str(folder / f"{number}.png"), np.ascontiguousarray(photograph[top : top + 97, 150:261, ::-1]))
    status, result, _ = evaluate(engine, "--images", folder, "--jpeg-quality", 10, 40)
    assert status == 0
    assert [(row["quality"], row["method"]) for row in result["rows"]] == [
        (10, "jpeg"),
        (10, "fastarcnn-luma"),
        (40, "jpeg"),
        (40, "fastarcnn-luma"),
    ]
    assert all(row["dataset"] == "two" and row["plane"] == "luma" and row["images"] == 2 for row in result["rows"])
    for jpeg, filtered in (result["rows"][:2], result["rows"][2:]):
        assert all(0 < abs(filtered[key] - jpeg[key]) < 5 for key in ("psnr", "ssim", "psnr_b"))


def test_a_model_by_name_with_own_weights_gives_what_its_engine_gives(
    evaluate, engine, weights, clip_pair, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    options = ("--clips", clip_pair.clean, "--frames", 3)
    status, by_name, _ = evaluate("fastarcnn-luma", "--weights", weights, *options)
    assert status == 0
    _, by_engine, _ = evaluate(engine, *options)
    assert by_name == by_engine


def test_a_person_gets_a_table(evaluate, engine, clip_pair):
    status, text, _ = evaluate(engine, "--clips", clip_pair.clean, "--frames", 3, as_json=False)
    assert status == 0
    assert "ΔPSNR" in text and "average" in text and "hevc at QP 37" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fastarcnn", "--images", "{absent}"], "is not a folder"),
        (["fastarcnn-luma", "--clips", "{absent}"], "does not exist"),
        (["fastarcnn", "--images", "{absent}", "--qp", "30"], "--qp belongs to --clips"),
        (["fastarcnn-luma", "--clips", "{absent}", "--jpeg-quality", "30"], "--jpeg-quality belongs to --images"),
        (["nosuchmodel", "--clips", "{clean}"], "fastarcnn-luma"),
        (["fastarcnn-luma", "--clips", "{clean}", "--weights", "{absent}"], "no weights file"),
        (["{engine}", "--clips", "{clean}", "--qp", "60"], "0 to 51"),
        (["{absent}", "--clips", "{clean}"], "neither a model"),
        (["fastarcnn", "--images", "{absent}", "--dataset", "mcl-jcv"], "mcl-jcv is a set of clips"),
        (["fastarcnn-luma", "--clips", "{clean}", "--dataset", "mcl-jcv"], "mcl-jcv is one folder"),
        (["fastarcnn", "--images", "{absent}", "--blind"], "--blind belongs to --clips"),
        (["{engine}", "--clips", "{clean}", "--fp16"], "--fp16 cannot change it"),
    ],
)
def test_mistakes_are_told_and_nothing_is_printed(evaluate, engine, clip_pair, tmp_path, arguments, message):
    places = {"absent": tmp_path / "absent", "clean": clip_pair.clean, "engine": engine}
    status, out, err = evaluate(*(argument.format(**places) for argument in arguments))
    assert (status, out) == (1, "")
    assert message in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fastarcnn-luma", "--clips", "{clean}", "--qp", "60"], "0 to 51"),
        (["fastarcnn-luma", "--clips", "{clean}", "--frames", "0"], "at least 1"),
        (["fastarcnn-luma", "--clips", "{clean}", "--preset", "quickish"], "ultrafast"),
        (["fastarcnn-luma", "--images", "{pictures}", "--jpeg-quality", "10", "101"], "1 to 100"),
        (["fastarcnn-luma", "--images", "{empty}"], "no pictures"),
        (["fastarcnn", "--clips", "{clean}"], "takes RGB"),
    ],
)
def test_mistakes_are_told_before_an_engine_is_built(
    evaluate, clip_pair, photograph, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    places = {"clean": clip_pair.clean, "pictures": tmp_path / "pictures", "empty": tmp_path / "empty"}
    for name in ("pictures", "empty"):
        places[name].mkdir()
    cv2.imwrite(str(places["pictures"] / "one.png"), photograph[:64, :64])
    status, out, err = evaluate(*(argument.format(**places) for argument in arguments))
    assert (status, out) == (1, "")
    assert message in err and "building" not in err
    assert not (tmp_path / "cache").exists()


def test_an_rgb_model_is_refused_on_clips(evaluate, clip_pair, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = random_weights("fastarcnn", tmp_path / "rgb.safetensors")
    status, _, err = evaluate("fastarcnn", "--weights", own, "--clips", clip_pair.clean)
    assert status == 1 and "filter-video with --reference" in err


def test_wrong_usage_leaves_with_2(evaluate):
    with pytest.raises(SystemExit) as stop:
        evaluate("fastarcnn")
    assert stop.value.code == 2
