"""Blocks passed through by their QP, and engines that are told the QP: on clips of several codecs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.runtime import Engine, load_engine
from postfilter.video import FrameRecord, filter_frames, filter_video
from postfilter.video.filtering.redo import redo_tiles
from postfilter.video.frame import Frame
from postfilter.video.reading.source import Source

Write = Callable[..., Path]
Steered = Callable[..., Path]
GetEngine = Callable[..., Engine]

_OF_MANY_QP = {"preset": "fast", "crf": "26", "aq-mode": "2", "aq-strength": "2"}


def _decoded(path: Path) -> list[list[NDArray[Any]]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [
            [
                np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width].copy()
                for plane in frame.planes
            ]
            for frame in frames
        ]


def _levels(path: Path) -> list[NDArray[np.float32]]:
    with Source(path, qp=True) as source:
        found = [source.qp_of(frame) for frame in source.frames()]
    assert all(each is not None for each in found)
    return [each for each in found if each is not None]


def _spread(blocks: NDArray[Any], shape: tuple[int, ...], *, side: int = 16) -> NDArray[Any]:
    return blocks.repeat(side, axis=0).repeat(side, axis=1)[: shape[0], : shape[1]]


@pytest.fixture
def clip(tmp_path: Path, write: Write) -> Path:
    return write(tmp_path / "clip.mkv", size=(150, 90), options=_OF_MANY_QP)


@pytest.mark.parametrize("layout", ["luma", "rgb"])
def test_blocks_below_leave_bit_for_bit_and_all_others_filtered(
    tmp_path: Path, clip: Path, engine: GetEngine, layout: str
) -> None:
    levels = _levels(clip)
    below = float(np.median(np.concatenate([each.ravel() for each in levels])))
    with_it, without = tmp_path / "with.mkv", tmp_path / "without.mkv"
    records: list[FrameRecord] = []

    class Watcher:
        def see(self, record: FrameRecord, decoded: Frame, filtered: Frame) -> None:
            records.append(record)

    smooth = engine(f"smooth-{layout}")
    result = filter_video(clip, with_it, smooth, codec="ffv1", skip_below_qp=below, observers=[Watcher()])
    filter_video(clip, without, smooth, codec="ffv1")
    skipped = 0
    for before, after, all_filtered, qp in zip(
        _decoded(clip), _decoded(with_it), _decoded(without), levels, strict=True
    ):
        skipped += int((qp < below).sum())
        for index, side in enumerate((16, 8, 8)):
            kept = _spread(qp < below, before[index].shape, side=side)
            np.testing.assert_array_equal(after[index][kept], before[index][kept])
            if index == 0 or layout == "luma":
                np.testing.assert_array_equal(after[index][~kept], all_filtered[index][~kept])
    total = sum(each.size for each in levels)
    assert 0 < skipped < total
    use = result.qp
    assert use is not None
    assert (use.source, use.blocks_skipped, use.frames_without) == ("h264 side data", skipped, 0)
    assert use.share == pytest.approx(skipped / total)
    assert use.mean == pytest.approx(np.mean([each.mean() for each in levels]), abs=1e-3)
    assert (use.min, use.max) == (min(each.min() for each in levels), max(each.max() for each in levels))
    cells = [_spread(qp < below, (-(-90 // 8), -(-150 // 8)), side=2) for qp in levels]
    assert [each.tiles_skipped for each in records] == [each.sum() for each in cells]
    assert [each.qp for each in records] == pytest.approx([each.mean() for each in levels])
    assert result.as_json()["qp"]["blocks_skipped"] == skipped


def test_frames_that_are_all_below_never_reach_the_engine(tmp_path: Path, clip: Path, engine: GetEngine) -> None:
    result = filter_video(clip, tmp_path / "out.mkv", engine(), codec="ffv1", skip_below_qp=100)
    assert result.qp is not None
    assert (result.qp.share, result.qp.frames_skipped) == (1.0, 12)
    for before, after in zip(_decoded(clip), _decoded(tmp_path / "out.mkv"), strict=True):
        np.testing.assert_array_equal(after[0], before[0])


def test_fields_are_skipped_where_both_blocks_of_the_frame_are_below(
    tmp_path: Path, write: Write, engine: GetEngine
) -> None:
    options = {**_OF_MANY_QP, "x264-params": "interlaced=1:tff=1"}
    clip = write(tmp_path / "clip.mkv", size=(150, 76), options=options)
    levels = _levels(clip)
    below = float(np.median(np.concatenate([each.ravel() for each in levels]))) + 1
    filter_video(clip, tmp_path / "with.mkv", engine(), codec="ffv1", skip_below_qp=below)
    filter_video(clip, tmp_path / "without.mkv", engine(), codec="ffv1")
    kinds = set()
    for before, after, filtered, qp in zip(
        _decoded(clip), _decoded(tmp_path / "with.mkv"), _decoded(tmp_path / "without.mkv"), levels, strict=True
    ):
        pairs = np.maximum(qp[0::2], qp[[1, 3, 4]])  # of five rows
        for parity in (0, 1):
            kept = _spread(pairs < below, before[0][parity::2].shape)
            kinds |= {bool(each) for each in np.unique(kept)}
            wanted = np.where(kept, before[0][parity::2], filtered[0][parity::2])
            np.testing.assert_array_equal(after[0][parity::2], wanted)
    assert kinds == {True, False}


def test_a_clip_of_a_codec_without_known_qp_is_refused_before_anything_is_written(
    tmp_path: Path, write: Write, engine: GetEngine
) -> None:
    clip = write(tmp_path / "clip.mkv", codec="ffv1")
    with pytest.raises(InputError, match=r"its codec is ffv1, and it is read from h264, hevc.*--skip-below-qp"):
        filter_video(clip, tmp_path / "out.mkv", engine(), skip_below_qp=30)
    assert list(tmp_path.iterdir()) == [clip]


def _changes(clip: Path, engine: Engine) -> Iterator[NDArray[Any]]:
    """How much each luma sample was lifted, capped where it is near white."""
    for before, frame in zip(_decoded(clip), filter_frames(clip, engine, guard="off"), strict=True):
        yield np.where(before[0] > 190, -1, frame.planes[0].astype(int) - before[0])


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        ("mkv", "libx264", _OF_MANY_QP),
        ("mp4", "libx265", {"x265-params": "log-level=none:qp=30:bframes=2:pools=1:frame-threads=1"}),
    ],
)
def test_an_engine_that_reads_the_qp_is_told_that_of_each_block(
    tmp_path: Path, write: Write, steered: Steered, suffix: str, codec: str, options: dict[str, str]
) -> None:
    clip = write(tmp_path / f"clip.{suffix}", size=(150, 90), codec=codec, options=options)
    levels = _levels(clip)
    assert len({float(each.mean()) for each in levels}) > 1
    with load_engine(steered(tmp_path / "engine", default=None), threads=1) as engine:
        for change, qp in zip(_changes(clip, engine), levels, strict=True):
            seen = change >= 0
            assert seen.any()
            np.testing.assert_array_equal(change[seen], _spread(qp, change.shape)[seen])


def test_what_is_not_known_takes_the_default_or_is_refused(tmp_path: Path, write: Write, steered: Steered) -> None:
    clip = write(tmp_path / "clip.mkv", codec="ffv1")
    with load_engine(steered(tmp_path / "blind", default=40), threads=1) as engine:
        assert {int(value) for change in _changes(clip, engine) for value in np.unique(change)} <= {-1, 40}
    for name, message in (
        ("qp", r"the QP of .* is not known: its codec is ffv1"),
        ("grain", r"reads grain besides the picture; what can be told of a frame is qp"),
    ):
        folder = steered(tmp_path / name, default=None, name=name)
        with load_engine(folder, threads=1) as engine, pytest.raises(InputError, match=message):
            next(filter_frames(clip, engine))


def test_tiles_that_are_filtered_again_are_told_the_qp_of_their_blocks(tmp_path: Path, steered: Steered) -> None:
    samples = np.random.default_rng(4).integers(0, 190, (2, 1, 230, 410), dtype=np.uint8)
    qp = np.random.default_rng(5).integers(0, 52, (2, 15, 26)).astype(np.float32)
    few = [(1, slice(64, 128), slice(128, 192)), (1, slice(192, 230), slice(320, 410))]
    many = [(0, slice(y, y + 64), slice(x, x + 64)) for y in (0, 64) for x in (0, 64, 128, 192, 256, 320)]
    with load_engine(steered(tmp_path / "engine", default=None), threads=1) as engine:
        wanted = engine(samples, inputs={"qp": qp})
        redone = redo_tiles(engine, samples, samples, few + many, {"qp": qp, "of another engine": qp})
    for n, rows, columns in few + many:
        np.testing.assert_array_equal(redone[n, 0, rows, columns], wanted[n, 0, rows, columns])
    assert (redone[1, 0, :64] == samples[1, 0, :64]).all()
