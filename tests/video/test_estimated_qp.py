"""The QP of frames whose bitstream tells none: estimated, given, or left out, and what engines are told."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.quality import jpeg_round_trip, luma_of
from postfilter.runtime import Engine, load_engine
from postfilter.video import filter_video
from postfilter.video.frame import Frame
from postfilter.video.reading.estimated_qp import QpEstimator
from postfilter.video.reading.source import Source

Write = Callable[..., Path]
Picture = NDArray[np.uint8]


@pytest.fixture
def steered_engine(tmp_path: Path, steered: Callable[..., Path]) -> Any:
    with load_engine(steered(tmp_path / "engine", default=0), threads=1) as engine:
        yield engine


def _frame(luma: NDArray[Any], number: int = 0, *, form: str = "gray") -> Frame:
    return Frame.from_planes([luma], format=form, pts=number, time_base=Fraction(1, 25))


def _told(estimator: QpEstimator, frame: Frame) -> float:
    levels = estimator.of(frame)
    assert levels.shape == (-(-frame.height // 16), -(-frame.width // 16)) and levels.dtype == np.float32
    (value,) = np.unique(levels)
    return float(value)


@pytest.fixture(scope="module")
def coarse_and_fine(photograph: Picture) -> tuple[Picture, Picture]:
    small = np.asarray(cv2.resize(photograph, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA), np.uint8)
    other = np.ascontiguousarray(255 - small[::-1])
    return luma_of(jpeg_round_trip(small, quality=10)), luma_of(jpeg_round_trip(other, quality=60))


def test_a_scene_is_told_one_figure_and_a_cut_begins_anew(coarse_and_fine: tuple[Picture, Picture]) -> None:
    coarse, fine = coarse_and_fine
    estimator = QpEstimator()
    first = [_told(estimator, _frame(coarse[: 300 - 20, : 300 - 20], t)) for t in range(20)]
    second = [_told(estimator, _frame(fine[: 300 - 20, : 300 - 20], t)) for t in range(20)]
    assert len(set(first)) == len(set(second)) == 1
    assert first[0] == pytest.approx(42, abs=3) and second[0] == pytest.approx(26, abs=4)


def test_deeper_samples_are_told_the_same(coarse_and_fine: tuple[Picture, Picture]) -> None:
    coarse, _ = coarse_and_fine
    deep = coarse.astype(np.uint16) << 2
    assert _told(QpEstimator(), _frame(deep, form="gray10le")) == _told(QpEstimator(), _frame(coarse))


def test_black_frames_leave_what_is_known(coarse_and_fine: tuple[Picture, Picture]) -> None:
    coarse, _ = coarse_and_fine
    estimator = QpEstimator()
    known = _told(estimator, _frame(coarse))
    black = np.full_like(coarse, 16)
    assert {_told(estimator, _frame(black)) for _ in range(10)} == {known}


def test_engines_are_told_where_the_bitstream_tells_nothing(
    tmp_path: Path, write: Write, steered_engine: Engine
) -> None:
    clip = write(tmp_path / "clip.avi", codec="mjpeg", pix_fmt="yuvj420p", size=(256, 192), options={"qmin": "20"})
    result = filter_video(clip, None, steered_engine)
    assert result.qp is not None and (result.qp.source, result.qp.frames_without) == ("estimated", 0)
    assert result.qp.mean is not None and 25 < result.qp.mean < 51
    blind = filter_video(clip, None, steered_engine, qp="blind")
    assert blind.qp is None
    given = filter_video(clip, None, steered_engine, qp=33)
    assert given.qp is not None and (given.qp.source, given.qp.min, given.qp.max) == ("given", 33, 33)


def test_the_bitstream_comes_first_unless_asked_otherwise(tmp_path: Path, write: Write) -> None:
    clip = write(tmp_path / "clip.mkv", size=(256, 192), options={"qp": "40"})
    for qp_from, name in (("auto", "h264 side data"), ("estimated", "estimated"), (20.0, "given")):
        with Source(clip, qp=True, qp_from=qp_from) as source:  # type: ignore[arg-type]
            levels = source.frame_of(source.first).qp
            assert source.qp_source == name and levels is not None
            assert levels.shape == (12, 16)


def test_a_resumed_run_is_told_what_one_run_is(
    tmp_path: Path, write: Write, coarse_and_fine: tuple[Picture, Picture]
) -> None:
    clip = write(tmp_path / "clip.avi", codec="mjpeg", pix_fmt="yuvj420p", size=(256, 192), pts=list(range(24)))
    with Source(clip, qp=True) as source:
        whole = [source.frame_of(each).qp for each in source.frames()]
    with Source(clip, qp=True) as source:
        pictures = source.frames()
        for _ in range(11):
            source.pass_over(next(pictures))
        rest = [source.frame_of(each).qp for each in pictures]
    np.testing.assert_array_equal(whole[11:], rest)


def test_mistakes_are_told(tmp_path: Path, write: Write, engine: Callable[..., Engine], steered_engine: Engine) -> None:
    clip = write(tmp_path / "clip.mkv", codec="ffv1", size=(160, 128))
    with pytest.raises(InputError, match="does not read"):
        filter_video(clip, None, engine(), qp="blind")
    for wrong in ("high", 60.0):
        with pytest.raises(InputError, match="give auto, estimated, blind, or a number of 0 to 51"):
            filter_video(clip, None, steered_engine, qp=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="its codec is ffv1"):  # an estimate tells nothing of blocks
        filter_video(clip, None, steered_engine, skip_below_qp=30)
