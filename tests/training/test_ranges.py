from __future__ import annotations

import cv2
import numpy as np
import pytest

from postfilter import models
from postfilter.errors import InputError
from postfilter.export.judged_frames import drawn_pairs
from postfilter.quality import jpeg_round_trip
from postfilter.quantize import read_ranges
from postfilter.training.ranges import coded_frames, find_ranges


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
