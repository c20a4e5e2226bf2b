"""What a run leaves behind."""

import json

import cv2
import pytest

import postfilter
from postfilter.errors import InputError
from postfilter.training import Recipe, RunFolder, provenance
from postfilter.training.run_folder import Checkpoint


def recipe(**options):
    return Recipe(**{"model": "arcnn", "degradation": "jpeg"} | options)


@pytest.fixture
def begun(tmp_path):
    """A folder with a run in it."""
    folder = RunFolder(tmp_path / "run")
    folder.open(recipe(), resume=False)
    folder.save(Checkpoint(step=3, seconds=1.5, best=0.1, network={}, average={}, optimizer={}))
    return folder


def test_each_part_of_a_run_tells_what_it_was_made_by(begun):
    begun.open(recipe(), resume=True)
    parts = [json.loads(line) for line in (begun.path / "made_by.jsonl").read_text().splitlines()]
    assert len(parts) == 2
    assert parts[0]["postfilter"] == postfilter.__version__
    assert {"torch", "numpy", "av"} <= parts[0]["libraries"].keys()


def test_the_revision_is_the_checkout_s(tmp_path, monkeypatch):
    found = provenance.revision()
    assert found is None or len(found.removesuffix("-dirty")) == 40
    monkeypatch.setattr(postfilter, "__file__", str(tmp_path / "postfilter" / "__init__.py"))
    assert provenance.revision() is None


def test_a_run_of_a_release_with_fewer_options_can_go_on(begun):
    path = begun.path / "recipe.json"
    earlier = json.loads(path.read_text())
    del earlier["harm"], earlier["pan_scales"]
    path.write_text(json.dumps(earlier))
    RunFolder.check(begun.path, recipe(), resume=True)
    with pytest.raises(InputError, match=r"harm was 0\.0, is 0\.5"):
        RunFolder.check(begun.path, recipe(harm=0.5), resume=True)


def test_length_and_threads_may_change_between_parts(begun):
    RunFolder.check(begun.path, recipe(steps=7, threads=3), resume=True)


def test_a_damaged_checkpoint_is_told(begun):
    (begun.path / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        begun.checkpoint()


def test_the_curve_has_a_panel_for_each_codec(begun):
    begun.draw_curve()
    assert not (begun.path / "curve.png").exists(), "without a log there is nothing to draw"
    heights = []
    for names in (["hevc 22", "hevc 37"], ["hevc 22", "h264 22"]):
        for second in (60, 120):
            begun.log(seconds=second, loss=1.0, gain_db=0.1, gains_db=dict.fromkeys(names, second / 1000))
        # What a kill left of a line.
        with (begun.path / "log.jsonl").open("a") as file:
            file.write('{"seconds": 18\n')
        begun.draw_curve()
        heights.append(cv2.imread(str(begun.path / "curve.png")).shape[0])
    assert heights[1] == pytest.approx(1.5 * heights[0], rel=0.02)
