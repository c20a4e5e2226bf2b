"""VMAF through the program that imageio-ffmpeg brings."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from postfilter.errors import InputError
from postfilter.quality import luma_of
from postfilter.quality.vmaf import Vmaf

pytest.importorskip("imageio_ffmpeg")
SOURCE = [luma_of(data.astronaut())[80:224, 60 + n : 236 + n] for n in range(4)]


def vmaf_of(shown: list[np.ndarray], source: list[np.ndarray]) -> list[float]:
    meter = Vmaf(fps=Fraction(30))
    for frame, wanted in zip(shown, source, strict=True):
        meter.take(frame, wanted)
    return meter.finish()


def test_each_frame_gets_a_figure_and_the_source_is_the_one_that_is_not_blurred():
    blurred = [cv2.GaussianBlur(frame, (9, 9), 2) for frame in SOURCE]
    same, worse, reversed_ = vmaf_of(SOURCE, SOURCE), vmaf_of(blurred, SOURCE), vmaf_of(SOURCE, blurred)
    assert len(same) == len(worse) == 4
    assert min(same) > 90 and max(worse) < 60 < min(reversed_)


def test_an_odd_size_is_taken_and_one_that_is_left_early_leaves_nothing():
    odd = [np.ascontiguousarray(frame[:97, :131]) for frame in SOURCE]
    assert len(vmaf_of(odd, odd)) == 4
    meter = Vmaf(fps=Fraction(25))
    meter.take(SOURCE[0], SOURCE[0])
    folder = Path(meter._folder.name)
    meter.close()
    assert not folder.exists() and meter._process.returncode is not None
    assert vmaf_of([], []) == []


def test_what_the_program_says_is_told():
    tiny = np.zeros((2, 2), np.uint8)
    meter = Vmaf(fps=Fraction(25))
    for _ in range(40):
        meter.take(tiny, tiny)
    with pytest.raises(InputError, match="VMAF could not be measured"):
        meter.finish()
    meter.close()
