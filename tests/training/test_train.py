"""Training really learns, stops and goes on."""

import json

import cv2
import numpy as np
import pytest

from postfilter import models
from postfilter.cli import train_model
from postfilter.errors import InputError, OutputError
from postfilter.models.weights import read_state_dict
from postfilter.training import Recipe, TrainingData, train
from postfilter.training.jpeg import jpeg_pool
from postfilter.training.schedule import learning_rate_share


@pytest.fixture(scope="module")
def data(photograph):
    pool = jpeg_pool([photograph[:256], photograph[256:384]], layout="luma", qualities=(10,))
    held_out = jpeg_pool([photograph[384:]], layout="luma", qualities=(10,))
    return TrainingData(pool=pool, first=None, validation={"jpeg 10": held_out})


def recipe(steps: int, **change: object) -> Recipe:
    options = {"model": "fastarcnn-luma", "degradation": "jpeg", "patch_size": 32, "batch_size": 8, "lr": 1e-3}
    return Recipe(**options | {"steps": steps, "seed": 2, "threads": 1, "ema": 0.9, "deblocking": 0.0} | change)


def test_a_short_run_improves_a_picture_that_it_never_saw(data, tmp_path):
    result = train(recipe(250, patch_size=48), data=data, output=tmp_path)
    # A run of this length reaches about 0.2 dB; an untrained network or wrong pairs stay at or below zero.
    assert result.gain_db > 0.1
    model = models.load("fastarcnn-luma", weights=result.weights)
    assert model.card.residual
    assert (tmp_path / "curve.png").stat().st_size > 1000
    assert json.loads((tmp_path / "recipe.json").read_text())["seed"] == 2


def test_a_run_that_only_makes_its_first_weights_worse_gives_them_back(data, tmp_path):
    first = train(recipe(60), data=data, output=tmp_path / "first")
    assert first.gain_db > 0
    ruined = train(recipe(3, lr_jpeg=5.0), data=data, output=tmp_path / "ruined", weights=first.weights)
    assert ruined.gain_db == pytest.approx(first.gain_db, abs=1e-6)
    before, after = (models.load("fastarcnn-luma", weights=each.weights).weights_sha256 for each in (first, ruined))
    assert before == after
    last = (tmp_path / "ruined" / "log.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["gain_db"] < first.gain_db - 0.1


def test_a_resumed_run_ends_where_an_unbroken_one_does(data, tmp_path):
    whole = train(recipe(20), data=data, output=tmp_path / "whole")
    seen = []

    def interrupt(done: float, total: float | None, **figures: float) -> None:
        seen.append(done)
        assert figures["steps_per_second"] > 0 and figures.keys() == {"loss", "gain_db", "steps_per_second"}
        if done == 10:
            raise KeyboardInterrupt

    # The schedule depends on the length asked for, so the first part is an interrupted run of the same length.
    with pytest.raises(KeyboardInterrupt):
        train(recipe(20), data=data, output=tmp_path / "parts", on_progress=interrupt, checkpoint_seconds=0)
    resumed = train(recipe(20), data=data, output=tmp_path / "parts", resume=True, on_progress=interrupt)
    assert seen == list(range(1, 21))
    assert resumed.steps == whole.steps == 20
    for part in ("network", "average"):
        a, b = (state(tmp_path / name, part) for name in ("whole", "parts"))
        assert all(np.array_equal(a[key], b[key]) for key in a)


def state(folder, part):
    import torch

    return torch.load(folder / "checkpoint.pt", weights_only=True)[part]


def test_a_folder_with_a_run_is_not_overwritten(data, tmp_path):
    train(recipe(2), data=data, output=tmp_path)
    with pytest.raises(OutputError, match="--resume"):
        train(recipe(2), data=data, output=tmp_path)
    with pytest.raises(InputError, match=r"lr was 0\.001, is 0\.002"):
        train(recipe(2, lr=0.002), data=data, output=tmp_path, resume=True)


def test_the_learning_rate_warms_up_and_falls():
    shares = [learning_rate_share(done) for done in np.linspace(0, 1, 200)]
    top = int(np.argmax(shares))
    assert shares[0] < 0.1 and shares[top] > 0.99 and shares[-1] == pytest.approx(0.01)
    assert np.all(np.diff(shares[: top + 1]) > 0) and np.all(np.diff(shares[top:]) < 0)


def test_the_command_trains_and_names_what_to_type_next(photograph, tmp_path, capsys, monkeypatch):
    images = tmp_path / "images"
    images.mkdir()
    for index in range(3):
        cv2.imwrite(str(images / f"{index}.png"), photograph[100 * index : 100 * index + 128, :160, ::-1])
    arguments = ["--images", images, "--epochs", "0.5", "--patch-size", "32", "--batch-size", "4", "--seed", "1"]
    output = tmp_path / "run"
    monkeypatch.setattr("sys.argv", ["train-model", "arcnn", *map(str, arguments), "--output", str(output), "--json"])
    assert train_model.main() == 0
    told = capsys.readouterr()
    printed = json.loads(told.out)
    assert printed["steps"] > 1
    assert "100.0%  gain" in told.err and "steps/s" in told.err
    assert read_state_dict(output / "weights.safetensors").keys() == models.build("arcnn").state_dict().keys()
    assert train_model.main() == 1
    assert "--resume" in capsys.readouterr().err


def test_the_command_asks_for_what_is_missing(capsys, monkeypatch):
    for arguments, message in (([], "name one model"), (["arcnn"], "--images"), (["nosuch"], "fastarcnn")):
        monkeypatch.setattr("sys.argv", ["train-model", *arguments])
        assert train_model.main() == 1
        assert message in capsys.readouterr().err
