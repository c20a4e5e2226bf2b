"""What a run that went on tells of what an earlier one made: no more than it knows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postfilter.errors import OutputError
from postfilter.runtime import Engine
from postfilter.video import Frame, FrameRecord, filter_video
from postfilter.video.report import ReportObserver, write_report

Engines = Callable[..., Engine]
Write = Callable[..., Path]

FRAMES, SEGMENT = 24, 6


class Spoiler:
    """Puts a folder where the output is to be, once all is nearly done: everything is made, and cannot be named."""

    def __init__(self, target: Path) -> None:
        self.target, self.seen = target, 0

    def see(self, record: FrameRecord, decoded: Frame, filtered: Frame) -> None:
        self.seen += 1
        if record.index == FRAMES - 1:
            (self.target / "in the way").mkdir(parents=True)


@pytest.fixture
def source(write: Write, tmp_path: Path) -> Path:
    return write(tmp_path / "in.mkv", pts=list(range(FRAMES)), options={"g": "6"})


def run(source: Path, target: Path, engine: Engine, **options: Any) -> Any:
    return filter_video(source, target, engine, **{"segment_frames": SEGMENT, **options})


def spoil(source: Path, target: Path, engine: Engine, **options: Any) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*directory.*; look at the file's name"):
        run(source, target, engine, observers=[Spoiler(target)], **options)
    shutil.rmtree(target)


def test_where_nothing_was_left_to_do_no_speed_is_told(source: Path, engine: Engines, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    spoil(source, target, engine())
    observer = ReportObserver()
    result = run(source, target, engine(), resume=True, observers=[observer])
    assert (result.frames_in, result.frames_out, result.frames_resumed) == (FRAMES, FRAMES, FRAMES)
    assert result.fps == result.speed_x == 0 and result.limits is None
    assert set(result.stages_ms.values()) == {0.0} and result.tiles.total > 0
    assert target.is_file()
    write_report(tmp_path / "report.html", observer, result, manifest=engine().manifest)
    assert "An earlier run made the first 24 frames" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_going_over_what_is_done_is_no_part_of_the_time(
    write: Write, source: Path, engine: Engines, tmp_path: Path
) -> None:
    long = write(tmp_path / "long.mkv", pts=list(range(40)))
    whole = run(long, tmp_path / "whole.mkv", engine(), segment_frames=39)

    class End:
        def see(self, record: FrameRecord, decoded: Frame, filtered: Frame) -> None:
            if record.index == 39:
                raise OutputError("the last frame")

    with pytest.raises(OutputError, match="the last frame"):
        run(long, tmp_path / "out.mkv", engine(), segment_frames=39, observers=[End()])
    result = run(long, tmp_path / "out.mkv", engine(), segment_frames=39, resume=True)
    assert result.frames_resumed in (0, 39)  # 0 where the encoder had not come as far
    if result.frames_resumed:
        # One frame, decoded in about the time that one takes: not in that of forty.
        assert result.stages_ms["decode"] < 20 * max(whole.stages_ms["decode"], 0.5)


def test_another_reference_is_another_run(source: Path, write: Write, engine: Engines, tmp_path: Path) -> None:
    target, other = tmp_path / "out.mkv", write(tmp_path / "other.mkv", pts=list(range(FRAMES)), codec="ffv1")
    spoil(source, target, engine(), reference=source)
    with pytest.raises(OutputError, match=r"filter reference: \w+ before, \w+ now"):
        run(source, target, engine(), reference=other, resume=True)
    assert run(source, target, engine(), reference=source, resume=True).quality.psnr_decoded > 90
