"""Frames one by one: the exchange type, `filter_frames`, and interlaced frames field by field."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.runtime import Engine
from postfilter.video import ColourTags, Frame, FrameRecord, filter_frames, filter_video, probe
from postfilter.video.filtering.colour import Colour
from postfilter.video.filtering.planes import LumaPlanes, RgbPlanes, planes_for
from postfilter.video.filtering.stage import FrameFilter
from postfilter.video.reading.source import Source

INTERLACED = {"x264-params": "interlaced=1:tff=1"}


@pytest.mark.parametrize("layout", ["luma", "rgb"])
def test_frames_are_those_of_filter_video(
    layout: str, tmp_path: Path, write: Callable[..., Path], engine: Callable[..., Engine], seen: Any
) -> None:
    source = write(tmp_path / "in.mp4")
    filter_video(source, tmp_path / "out.mkv", engine(f"smooth-{layout}"), codec="ffv1")
    written = seen(tmp_path / "out.mkv")
    frames = list(filter_frames(source, engine(f"smooth-{layout}")))
    assert len(frames) == len(written.planes)
    for frame, planes, seconds in zip(frames, written.planes, written.seconds, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(frame.planes, planes, strict=True))
        assert frame.pts_seconds == pytest.approx(seconds, abs=0.001)  # Matroska counts milliseconds
        assert frame.to_av().pts == frame.pts


def test_a_frame_shares_the_memory_it_was_made_from(photograph: NDArray[np.uint8]) -> None:
    y = np.ascontiguousarray(photograph[:64, :96, 1])
    cb = cr = np.full((32, 48), 128, np.uint8)
    frame = Frame.from_planes([y, cb, cr], format="yuv420p", pts=3, time_base=Fraction(1, 25))
    assert np.shares_memory(frame.planes[0], y) and (frame.width, frame.height, frame.pts_seconds) == (96, 64, 0.12)
    picture = frame.to_av()
    again = Frame.from_av(picture, colour=ColourTags())
    assert again.to_av() is picture and np.array_equal(again.planes[0], y)
    picture_y = np.frombuffer(picture.planes[0], np.uint8)  # type: ignore[call-overload]
    assert np.shares_memory(again.planes[0], picture_y)
    apart = Frame.from_av(picture.reformat(format="nv12", threads=1), colour=ColourTags())
    assert all(np.array_equal(a, b) for a, b in zip(apart.planes, frame.planes, strict=True))
    with pytest.raises(InputError, match="uint16 arrays"):
        Frame.from_planes([y], format="gray10le", pts=0, time_base=Fraction(1, 25))


@pytest.mark.parametrize("layout", ["luma", "rgb"])
def test_interlaced_frames_are_filtered_field_by_field(
    layout: str, tmp_path: Path, write: Callable[..., Path], engine: Callable[..., Engine]
) -> None:
    clip = write(tmp_path / "in.mkv", options=INTERLACED)
    assert probe(clip).interlaced
    chosen = engine(f"smooth-{layout}")
    planes = planes_for(probe(clip), chosen)
    taken = []
    for frame in _frames(clip):
        samples = planes.take(frame)
        assert samples.shape == (2, chosen.channels, 32, 96)
        assert np.array_equal(planes.put(frame.copy(), samples, samples).planes[0], frame.planes[0])
        if layout == "luma":
            woven = planes.put(frame.copy(), samples, chosen(samples)).planes[0]
            for parity in (0, 1):
                field = np.ascontiguousarray(frame.planes[0][parity::2])[None, None]
                assert np.array_equal(woven[parity::2], chosen(field)[0, 0])
        taken.append(samples)
    assert len(taken) == 12


@pytest.mark.parametrize("height", [62, 63])
@pytest.mark.parametrize("layout", ["luma", "rgb"])
def test_the_bottom_field_may_have_a_line_less(
    layout: str, height: int, photograph: NDArray[np.uint8], engine: Callable[..., Engine]
) -> None:
    y = np.ascontiguousarray(photograph[:height, :96, 1])
    cb, cr = (np.ascontiguousarray(photograph[: -(-height // 2), :48, each]) for each in (0, 2))
    frame = Frame.from_planes([y, cb, cr], format="yuv420p", pts=0, time_base=Fraction(1, 25))
    frame.interlaced = True
    colour = Colour(format=frame.format, matrix=1, full_range=False)
    planes = LumaPlanes() if layout == "luma" else RgbPlanes(colour)
    (filtered,) = FrameFilter(engine(f"same-{layout}"), planes).stream([frame])
    assert all(np.array_equal(a, b) for a, b in zip(filtered.frame.planes, (y, cb, cr), strict=True))


@pytest.mark.parametrize("width", [96, 128])  # the decoder's rows are padded, and not
def test_observers_see_every_frame_as_it_was_and_as_it_is(
    width: int, tmp_path: Path, write: Callable[..., Path], engine: Callable[..., Engine]
) -> None:
    source = write(tmp_path / "in.mp4", size=(width, 64))
    shown: list[tuple[FrameRecord, NDArray[Any], NDArray[Any]]] = []

    class Looks:
        def see(self, record: FrameRecord, decoded: Frame, filtered: Frame) -> None:
            shown.append((record, decoded.planes[0].copy(), filtered.planes[0].copy()))

    filter_video(source, None, engine("smooth-luma"), observers=[Looks()])
    assert [record.index for record, _, _ in shown] == list(range(12))
    for (record, before, after), frame in zip(shown, _frames(source), strict=True):
        assert np.array_equal(before, frame.planes[0])
        assert np.array_equal(after[None, None], engine("smooth-luma")(before[None, None]))
        assert record.change > 0 and record.pts_seconds == frame.pts_seconds


def _frames(path: Path) -> list[Frame]:
    with Source(path) as source:
        return [Frame.from_av(each, colour=source.info.colour).copy() for each in source.frames()]
