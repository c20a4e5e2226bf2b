"""Engines that read the frames around a frame are given them: in a clip, where it goes on, and field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.errors import PostfilterError
from postfilter.export.pictures import drawn_scene
from postfilter.quality import luma_of
from postfilter.runtime import Engine, load_engine
from postfilter.runtime.further_inputs import FurtherInput
from postfilter.runtime.neighbours import NEIGHBOURS, aligned
from postfilter.video import filter_frames, filter_video
from postfilter.video.filtering.planes import LumaPlanes
from postfilter.video.filtering.stage import FrameFilter
from postfilter.video.frame import Frame
from postfilter.video.reading.source import Source
from postfilter.video.realtime.rungs import Work

Write = Callable[..., Path]


@pytest.fixture(params=NEIGHBOURS)
def temporal(request: pytest.FixtureRequest, tmp_path: Path, steered: Callable[..., Path]) -> Iterator[Engine]:
    """Its output is the frame before, or the one after, as it is given to it."""
    inputs = tuple(FurtherInput(name=name, kind="picture") for name in NEIGHBOURS)
    shares = (0.0, *(float(name == request.param) for name in NEIGHBOURS))
    with load_engine(steered(tmp_path / "temporal", inputs=inputs, shares=shares), threads=1) as engine:
        engine.shown = request.param  # type: ignore[attr-defined]
        yield engine


def lumas(path: Path) -> list[NDArray[Any]]:
    with Source(path) as source:
        return [source.frame_of(each).planes[0].copy() for each in source.frames()]


def panned(frames: int) -> list[NDArray[Any]]:
    scene = luma_of(drawn_scene(160, 64, seed=4))
    return [np.ascontiguousarray(scene[:, 5 * number : 5 * number + 96]) for number in range(frames)]


def shown_by(engine: Engine, clip: list[NDArray[Any]], number: int) -> NDArray[Any]:
    other = number - 1 if engine.shown == "previous" else number + 1  # type: ignore[attr-defined]
    return aligned(clip[number], clip[other]) if 0 <= other < len(clip) else clip[number]


def test_each_frame_is_filtered_with_those_around_it(temporal: Engine, write: Write, tmp_path: Path) -> None:
    clip = write(tmp_path / "in.mkv", codec="ffv1", pts=list(range(9)))
    decoded = lumas(clip)
    filtered = [each.planes[0] for each in filter_frames(clip, temporal, guard="off")]
    assert len(filtered) == len(decoded)
    for number, made in enumerate(filtered):
        assert np.array_equal(made, shown_by(temporal, decoded, number))
    assert not all(np.array_equal(*pair) for pair in zip(filtered, decoded, strict=True))


def test_unchanged_tiles_are_reused_only_where_the_neighbours_are_unchanged(
    temporal: Engine, write: Write, tmp_path: Path
) -> None:
    clip = write(tmp_path / "in.mkv", codec="ffv1", pts=list(range(12)))
    wanted, got = (
        [each.planes[0].copy() for each in filter_frames(clip, temporal, guard="off", tile_reuse=reuse)]
        for reuse in (False, True)
    )
    assert all(np.array_equal(*pair) for pair in zip(got, wanted, strict=True))


def test_a_run_that_goes_on_knows_the_frame_before(temporal: Engine, write: Write, tmp_path: Path) -> None:
    clip = write(tmp_path / "in.mkv", codec="ffv1", pts=list(range(30)))
    options: dict[str, Any] = {"codec": "ffv1", "segment_frames": 7, "guard": "off"}
    filter_video(clip, tmp_path / "whole.mkv", temporal, **options)

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(temporal, name)

        def stream(self, items: Any, **keywords: Any) -> Iterator[Any]:
            for number, each in enumerate(temporal.stream(items, **keywords)):
                if number == 24:
                    raise RuntimeError("the device fell off the bus")
                yield each

    with pytest.raises(PostfilterError, match="fell off the bus"):
        filter_video(clip, tmp_path / "out.mkv", Failing(), **options)  # type: ignore[arg-type]
    result = filter_video(clip, tmp_path / "out.mkv", temporal, **options, resume=True)
    assert result.frames_resumed >= 7
    assert all(
        np.array_equal(*pair) for pair in zip(*map(lumas, (tmp_path / "out.mkv", tmp_path / "whole.mkv")), strict=True)
    )


def test_frames_of_a_stage_may_be_written_to_as_they_come(temporal: Engine) -> None:
    given = panned(6)

    def frames() -> Iterator[Frame]:
        for number, luma in enumerate(given):
            yield Frame.from_planes([luma.copy()], format="gray", pts=number, time_base=Fraction(1, 25))

    stage = FrameFilter(temporal, LumaPlanes(), reuse=False)
    made = [each.frame.planes[0] for each in stage.stream(frames())]
    for number, got in enumerate(made):
        assert np.array_equal(got, shown_by(temporal, given, number))


def test_in_real_time_the_frame_after_is_not_there_yet(temporal: Engine) -> None:
    given = panned(3)
    work = Work(temporal, LumaPlanes(), guard="off")
    for number, luma in enumerate(given):
        frame = Frame.from_planes([luma.copy()], format="gray", pts=number, time_base=Fraction(1, 25))
        made = work(frame, number).planes[0]
        wanted = shown_by(temporal, given, number) if temporal.shown == "previous" else luma  # type: ignore[attr-defined]
        assert np.array_equal(made, wanted)
