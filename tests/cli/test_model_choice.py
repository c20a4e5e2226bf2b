"""filter-video without a model: which one it takes, with real engines in fp32."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from postfilter import export, models
from postfilter.cli.command import Reporter
from postfilter.cli.filter_video import main
from postfilter.cli.model_choice import choose_by_speed
from postfilter.errors import ArtefactError, MissingDependencyError, PostfilterError, VerificationError
from postfilter.video import probe
from postfilter.video.choosing import beginning
from postfilter.video.choosing import engines as engines_module
from postfilter.video.choosing import search as search_module
from postfilter.video.choosing.beginning import Beginning
from postfilter.video.choosing.choice import Wishes
from postfilter.video.choosing.engines import Engines
from postfilter.video.choosing.kept import Kept
from postfilter.video.choosing.search import choose_model
from postfilter.video.writing.encoder import EncoderSettings

FP32 = Wishes(precision="fp32")


@pytest.fixture(scope="module")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Engines are built once for all tests here."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(engine_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, with the engines of the tests before and nothing else."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(engine_cache))
    monkeypatch.setattr(beginning, "_ENGINE_SECONDS", 0.05)
    monkeypatch.setattr(models, "names", lambda *, shipped=False: ("arcnn-luma", "fastarcnn-luma"))
    Kept().path.unlink(missing_ok=True)
    return engine_cache


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`speeds(**fps)` makes the clock say that engines reach these rates, by `arcnn` and `fastarcnn`."""

    def set_speeds(**fps: float) -> None:
        def seconds(engine: Any) -> float:
            return engines_module.usable_cores() / fps[engine.manifest.model.removesuffix("-luma")]

        monkeypatch.setattr(engines_module, "engine_seconds", lambda engine, **_: seconds(engine))
        monkeypatch.setattr(Beginning, "filter_seconds", lambda self, engine, **_: seconds(engine))
        monkeypatch.setattr(Beginning, "changing", lambda self: 1.0)

    return set_speeds


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`run(*arguments)` gives the exit status, what `--json` printed and standard error."""

    def call(*arguments: Any) -> tuple[int, Any, str]:
        monkeypatch.setattr(sys, "argv", ["filter-video", *map(str, arguments), "--sink", "null", "--json"])
        status = main()
        out, err = capsys.readouterr()
        return status, json.loads(out) if out else None, err

    return call


def test_a_clip_is_filtered_by_what_was_measured_and_the_second_run_measures_nothing(
    run: Any, clip_pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, told, err = run(clip_pair.coded, "--fp32")
    assert status == 0
    choice = told["choice"]
    assert told["engine"].startswith(f"{choice['model']} fp32")
    assert choice["clip_fps"] == 25 and not choice["cached"]
    assert [each["model"] for each in choice["candidates"]] == ["arcnn-luma", "fastarcnn-luma"]
    assert all(each["expected_fps"] > 0 for each in choice["candidates"])
    line = err.splitlines()[-1]
    assert choice["model"] in line and "192x128 at 25 fps" in line and "--model NAME to choose" in line

    monkeypatch.setattr(search_module, "Beginning", None)
    monkeypatch.setattr(engines_module, "engine_seconds", None)
    status, again, err = run(clip_pair.coded, "--fp32")
    assert status == 0 and again["choice"] == choice | {"cached": True}
    assert err.splitlines() == [line]
    status, quietly, err = run(clip_pair.coded, "--fp32", "--quiet")
    assert status == 0 and quietly["choice"] == again["choice"] and err == ""


@pytest.mark.parametrize(
    ("arcnn", "fastarcnn", "chosen", "real_time"),
    [(100, 300, "arcnn-luma", True), (28, 300, "fastarcnn-luma", True), (5, 20, "fastarcnn-luma", False)],
)
def test_the_best_that_keeps_up_is_taken_else_the_fastest(
    clip_pair: Any, speeds: Any, arcnn: float, fastarcnn: float, chosen: str, real_time: bool
) -> None:
    speeds(arcnn=arcnn, fastarcnn=fastarcnn)
    choice = choose_model(clip_pair.coded, probe(clip_pair.coded), FP32)
    assert (choice.model, choice.real_time) == (chosen, real_time)
    assert choice.expected_fps < {"arcnn-luma": arcnn, "fastarcnn-luma": fastarcnn}[chosen]  # it decodes as well
    sentence = choice.sentence(width=192, height=128)
    assert sentence.startswith(f"{chosen} fp32: " if real_time else "no model is expected to keep up")


def test_what_cannot_keep_up_is_not_built(
    clip_pair: Any, speeds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_model(clip_pair.coded, probe(clip_pair.coded), FP32)
    there = Engines(probe(clip_pair.coded), FP32, Kept(), print).current(models.card("fastarcnn-luma"), "fp32")
    assert there is not None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = tmp_path / "postfilter" / "engines"
    kept.mkdir(parents=True)
    (kept / there.name).symlink_to(there)
    speeds(fastarcnn=30)
    choice = choose_model(clip_pair.coded, probe(clip_pair.coded), FP32)
    assert choice.model == "fastarcnn-luma" and [each.name for each in kept.iterdir()] == [there.name]
    slower = next(each for each in choice.candidates if each.model == "arcnn-luma")
    assert slower.basis == "estimate" and (slower.expected_fps or 99) < 25


def test_what_an_encoder_takes_counts(clip_pair: Any, speeds: Any) -> None:
    speeds(arcnn=1e6, fastarcnn=1e6)
    clip = probe(clip_pair.coded)
    free = choose_model(clip_pair.coded, clip, FP32)
    slow = choose_model(
        clip_pair.coded, clip, Wishes(precision="fp32", encoding=EncoderSettings(codec="libx264", preset="placebo"))
    )
    assert slow.expected_fps < free.expected_fps / 2 and not slow.cached


@pytest.mark.parametrize("form", ["gray", "yuv420p10le"])
def test_unusual_clips_have_their_choice(tmp_path: Path, form: str) -> None:
    clip = _written(tmp_path / "in.mkv", form)
    assert choose_model(clip, probe(clip), FP32).candidates[0].expected_fps


def test_rgb_clips_are_filtered_by_models_for_rgb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "names", lambda *, shipped=False: ("fastarcnn", "fastarcnn-luma"))
    clip = _written(tmp_path / "in.mkv", "bgr0")
    assert [each.model for each in choose_model(clip, probe(clip), FP32).candidates] == ["fastarcnn"]


def test_a_named_engine_is_no_choice(run: Any, clip_pair: Any, luma_engine: Path) -> None:
    status, told, _ = run(clip_pair.coded, "--engine", luma_engine)
    assert status == 0 and told["choice"] is None


def test_options_of_one_engine_leave_the_default(clip_pair: Any, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"weights": Path("own.safetensors"), "residual": None, "size": None, "device": None, "backend": None}
    arguments = argparse.Namespace(engine=None, model=None, precision=None, **options)
    told = choose_by_speed(arguments, probe(clip_pair.coded), Reporter(quiet=False), encoding=None)
    assert told is None and arguments.model is None
    assert "--weights" in capsys.readouterr().err


def test_without_torch_the_cache_is_chosen_from(
    run: Any, clip_pair: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_model(clip_pair.coded, probe(clip_pair.coded), FP32)  # which builds
    Kept().path.unlink()
    monkeypatch.setitem(sys.modules, "torch", None)
    assert choose_model(clip_pair.coded, probe(clip_pair.coded), FP32).candidates[0].basis != "estimate"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="--engine"):
        choose_model(clip_pair.coded, probe(clip_pair.coded), FP32)
    status, told, err = run(clip_pair.coded)
    assert status == 1 and told is None and "postfilter[export]" in err and "Traceback" not in err


@pytest.mark.parametrize("error", [VerificationError("it is no faster here"), ArtefactError("no 10 bits here")])
def test_a_precision_that_was_refused_is_not_tried_again(
    clip_pair: Any, monkeypatch: pytest.MonkeyPatch, error: PostfilterError
) -> None:
    clip, card, tried = probe(clip_pair.coded), models.card("fastarcnn-luma"), []
    folder, _ = Engines(clip, FP32, Kept(), print).measured(card)

    def build(model: str, *, precision: str, **_: Any) -> Path:
        tried.append(precision)
        if precision == "int8":
            raise error
        return folder

    monkeypatch.setattr(export, "cached_engine", build, raising=False)
    engines = Engines(clip, Wishes(), Kept(), print)
    for _ in range(2):
        assert engines.measured(card)[0] == folder
    assert tried == ["int8", "fp16", "fp16"]


def test_devices_that_decode_leave_out_models_that_read_the_qp() -> None:
    card = models.card("edge-m")
    assert search_module._can_be_fed(card, Wishes())
    assert not search_module._can_be_fed(card, Wishes(hwaccel="cuda"))


def test_what_is_kept_survives_damage_and_does_not_grow_for_ever() -> None:
    kept = Kept()
    kept.path.write_text("{ no json")
    assert kept.get("choices", "a") is None
    for number in range(250):
        kept.put("choices", str(number), number)
    assert kept.get("choices", "249") == 249 and kept.get("choices", "0") is None


def _written(path: Path, form: str) -> Path:
    """A clip of four frames."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, form
        picture = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
        for shift in range(4):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, shift, axis=1), "rgb24").reformat(format=form)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
