"""What is done to a frame on each rung."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from postfilter.runtime import Engine
from postfilter.video.frame import Frame
from postfilter.video.reading.source import Source
from postfilter.video.realtime.rungs import Work, build_rungs


@pytest.fixture
def clip(write: Callable[..., Path], tmp_path: Path) -> Source:
    return Source(write(tmp_path / "in.mkv", pts=[0, 1, 2], options={"crf": "30"}))


def test_the_rungs_of_each_kind_of_engine(engine: Callable[..., Engine], clip: Source) -> None:
    names = [each.name for each in build_rungs(clip.info, [engine("smooth-luma")])[0]]
    assert names == ["smooth fp32 openvino", "half", "pass"]
    rungs, works = build_rungs(clip.info, [engine("smooth-rgb"), engine("same-rgb")])
    assert [each.name for each in rungs[2:]] == ["luma", "half", "pass"]
    assert [each.work for each in rungs] == [0, 1, 2, 2, None] and len(works) == 3
    rungs, works = build_rungs(clip.info, [engine("smooth-rgb"), engine("smooth-luma")])
    assert [each.work for each in rungs] == [0, 1, 1, None], "a luma engine is the rung of luma alone"


def luma_of(frame: Frame) -> np.ndarray:
    return frame.planes[0].astype(np.int16)


@pytest.mark.parametrize(("bits", "pix_fmt"), [(8, "yuv420p"), (8, "yuvj420p"), (10, "yuv420p10le")])
def test_luma_alone_through_an_rgb_engine(
    engine: Callable[..., Engine], write: Callable[..., Path], tmp_path: Path, bits: int, pix_fmt: str
) -> None:
    path = write(tmp_path / "in.mkv", pts=[0, 1], codec="ffv1" if bits == 10 else "libx264", pix_fmt=pix_fmt)
    with Source(path) as source:
        frame = Frame.from_av(source.first, colour=source.info.colour)
        works = {}
        for name in ("same-rgb", "smooth-rgb"):
            rungs, built = build_rungs(source.info, [engine(name, bit_depth=bits)])
            assert rungs[1].name == "luma"
            works[name] = built[1]
        same, smooth = (works[name](frame.copy()) for name in ("same-rgb", "smooth-rgb"))
        for plane, before in zip(same.planes, frame.planes, strict=True):
            np.testing.assert_array_equal(plane, before)
        wanted = build_rungs(source.info, [engine("smooth-luma", bit_depth=bits)])[1][0](frame.copy())
        # Rounded once more; and beyond the edge this network sees black, which is another code in luma.
        assert np.abs(luma_of(smooth) - luma_of(wanted))[1:-1, 1:-1].max() <= 1
        assert (luma_of(smooth) != luma_of(frame)).any()
        np.testing.assert_array_equal(smooth.planes[1], frame.planes[1])


def test_what_the_guard_objects_to_passes_through(engine: Callable[..., Engine], clip: Source) -> None:
    work: Work = build_rungs(clip.info, [engine("shift-luma")])[1][0]
    frame = Frame.from_av(clip.first, colour=clip.info.colour)
    after = work(frame.copy(), 0)
    np.testing.assert_array_equal(after.planes[0], frame.planes[0])
    assert (work.frames, work.guard.report.frames_passed) == (1, 1)


def test_a_picture_that_stands_still_is_filtered_once(engine: Callable[..., Engine], clip: Source) -> None:
    work: Work = build_rungs(clip.info, [engine()])[1][0]
    first, *_ = (Frame.from_av(each, colour=clip.info.colour).copy() for each in clip.frames())
    other = first.copy()
    other.planes[0][20, 30] ^= 1
    outputs, reused = [], []
    for index, frame in enumerate([first, first, other, other, first]):
        outputs.append(luma_of(work(frame.copy(), index)))
        reused.append(work.last.reused > 0)
    assert reused == [False, True, False, True, False]
    assert (work.tiles.total, work.tiles.reused) == (5 * work.last.total, 2 * work.last.total)
    for output, frame in zip(outputs, [first, first, other, other, first], strict=True):
        np.testing.assert_array_equal(output, engine()(frame.planes[0][None, None])[0, 0])
