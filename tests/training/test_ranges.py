from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from postfilter import models
from postfilter.errors import InputError
from postfilter.export.judged_frames import drawn_pairs
from postfilter.models.weights import save_weights
from postfilter.quality import jpeg_round_trip
from postfilter.quantize import read_ranges
from postfilter.training.ranges import coded_frames, find_ranges, main


def test_pictures_are_coded_as_jpeg_at_each_quality_in_turn(photograph, tmp_path):
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), photograph[:64, :96, ::-1])
    frames = coded_frames("rgb", tmp_path)
    assert [frame.shape for frame in frames[:6]] == [(1, 3, 64, 96)] * 5 + [(1, 3, 240, 416)]
    for frame, quality in zip(frames[:5], (10, 20, 30, 40, 10), strict=True):
        expected = jpeg_round_trip(np.ascontiguousarray(photograph[:64, :96]), quality=quality)
        np.testing.assert_array_equal(frame[0], expected.transpose(2, 0, 1))


def test_clips_are_coded_at_half_size_by_each_codec_and_qp(clip_pair):
    frames = coded_frames("luma", [clip_pair.clean])
    assert [frame.shape for frame in frames[:7]] == [(1, 1, 64, 96)] * 6 + [(1, 1, 240, 416)]
    assert len({frame.tobytes() for frame in frames}) == len(frames)


def test_the_drawn_scenes_are_not_those_that_engines_are_judged_on(clip_pair):
    judged = {pair.decoded.tobytes() for pair in drawn_pairs("luma")}
    assert not judged & {frame.tobytes() for frame in coded_frames("luma", [clip_pair.clean])}


def test_what_cannot_be_coded_is_told(clip_pair, tmp_path):
    with pytest.raises(InputError, match="one folder of pictures"):
        coded_frames("rgb", [tmp_path, tmp_path])
    with pytest.raises(InputError, match="no clips"):
        coded_frames("luma", tmp_path)


@pytest.mark.slow
def test_ranges_found_anew_are_near_the_shipped_ones(clip_pair):
    found = find_ranges("fastarcnn-luma", coded_frames("luma", [clip_pair.clean]), source="a pan")
    assert found.model == "fastarcnn-luma" and found.source == "a pan" and found.frames == 38
    shipped = read_ranges(models.card("fastarcnn-luma").ranges_path)
    assert found.steps.keys() == shipped.steps.keys()
    assert all(0.3 < found.steps[value] / shipped.steps[value] < 3 for value in found.steps)


def test_the_command_tells_what_it_cannot_do(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["edge-s", "edge-m", "--material", str(tmp_path), "--output", "ranges.json"])
    assert stopped.value.code == 2 and "of one model; got 2" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["edge-s", "--material", str(tmp_path / "absent")])
    assert stopped.value.code == 1 and "does not exist" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_writes_ranges_of_given_weights(tmp_path, clip_pair, capsys):
    torch.manual_seed(0)
    weights, output = tmp_path / "w.safetensors", tmp_path / "w.ranges.json"
    save_weights(models.build("edge-s"), weights, residual=True)
    main(["edge-s", "--material", str(clip_pair.clean), "--weights", str(weights), "--output", str(output)])
    loaded = models.load("edge-s", weights=weights)
    found = read_ranges(output)
    assert (found.model, found.weights_sha256) == ("edge-s", loaded.weights_sha256)
    assert found.source == clip_pair.clean.name and len(found.steps) == 8
    assert str(output) in capsys.readouterr().out
