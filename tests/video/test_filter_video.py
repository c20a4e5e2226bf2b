"""What filtering does to the picture, and the result it tells."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from postfilter.errors import InputError, OutputError, PostfilterError, UnknownNameError
from postfilter.quality.metrics import psnr
from postfilter.runtime import Engine
from postfilter.video import filter_video, probe

Engines = Callable[..., Engine]
Write = Callable[..., Path]
Seen = Callable[[Path], Any]


def leftovers(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir() if "partial" in each.name or each.name.startswith("out"))


class Wrapped:
    """An engine of which one method is replaced, to fail or to dawdle as a real one might."""

    def __init__(self, engine: Engine, stream: Callable[[Engine, Iterable[Any]], Iterator[Any]]) -> None:
        self._engine, self._stream = engine, stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def stream(self, planes: Iterable[Any], *, reuse: Any = None) -> Iterator[Any]:
        return self._stream(self._engine, planes)


@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p", "yuvj420p", "yuv420p10le", "yuv422p", "yuv444p", "yuv422p10le", "gray", "gray10le"]
)
def test_luma_engines_replace_y_and_leave_chroma_bit_for_bit(
    pix_fmt: str, engine: Engines, write: Write, seen: Seen, tmp_path: Path
) -> None:
    codec = "ffv1" if "gray" in pix_fmt else "libx264"  # FFmpeg decodes grey H.264 as 4:2:0
    source = write(tmp_path / "in.mkv", pix_fmt=pix_fmt, codec=codec)
    smooth = engine("smooth-luma", bit_depth=probe(source).bit_depth)
    filter_video(source, tmp_path / "out.mkv", smooth, codec="ffv1")
    before, after = seen(source), seen(tmp_path / "out.mkv")
    assert len(before.planes) == len(after.planes) == 12
    for old, new in zip(before.planes, after.planes, strict=True):
        assert np.array_equal(smooth(old[0][None, None])[0, 0], new[0])
        assert not np.array_equal(old[0], new[0])
        for index in range(1, len(old)):
            assert np.array_equal(old[index], new[index])


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p", "yuv420p10le", "yuv444p"])
def test_an_rgb_engine_that_changes_nothing_leaves_every_sample(
    pix_fmt: str, engine: Engines, write: Write, seen: Seen, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.mkv", pix_fmt=pix_fmt)
    filter_video(source, tmp_path / "out.mkv", engine("same-rgb", bit_depth=10 if "10" in pix_fmt else 8), codec="ffv1")
    for old, new in zip(seen(source).planes, seen(tmp_path / "out.mkv").planes, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(old, new, strict=True))


def test_an_rgb_engine_smooths_colour_too(engine: Engines, write: Write, seen: Seen, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv")
    filter_video(source, tmp_path / "out.mkv", engine("smooth-rgb"), codec="ffv1")
    for old, new in zip(seen(source).planes, seen(tmp_path / "out.mkv").planes, strict=True):
        # The kernel sees black beyond the picture, so its edge is left aside.
        inner = [[each[4:-4, 4:-4].astype(int) for each in planes] for planes in (old, new)]
        assert np.abs(np.diff(inner[1][0])).mean() < 0.8 * np.abs(np.diff(inner[0][0])).mean()
        assert not any(np.array_equal(a, b) for a, b in zip(old, new, strict=True))
        for a, b in zip(*inner, strict=True):
            assert abs(a.mean() - b.mean()) < 0.5


@pytest.mark.parametrize(("codec", "name"), [("libx264", "h264"), ("libx265", "hevc"), ("ffv1", "ffv1")])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_every_codec_keeps_the_bit_depth(
    codec: str, name: str, pix_fmt: str, engine: Engines, write: Write, seen: Seen, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.mkv", pix_fmt=pix_fmt, codec="ffv1")
    same = engine("same-luma", bit_depth=10 if "10" in pix_fmt else 8)
    filter_video(source, tmp_path / "out.mkv", same, codec=codec, crf=10)
    before, after = seen(source), seen(tmp_path / "out.mkv")
    assert (after.codec, after.pix_fmt, len(after.planes)) == (name, pix_fmt, 12)
    peak = 1023 if "10" in pix_fmt else 255
    assert psnr(before.planes[5][0], after.planes[5][0], peak=peak) > 42


def test_the_engines_bit_depth_must_be_the_clips(engine: Engines, write: Write, seen: Seen, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", pix_fmt="yuv420p10le")
    with pytest.raises(InputError, match=r"10 bits.*bit_depth=10"):
        filter_video(source, tmp_path / "out.mkv", engine())
    assert leftovers(tmp_path) == []


def test_other_formats_are_refused_by_name(engine: Engines, write: Write, seen: Seen, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", codec="ffv1", pix_fmt="yuv410p")
    with pytest.raises(InputError, match=r"yuv410p.*yuv420p10le"):
        filter_video(source, tmp_path / "out.mkv", engine())


def test_grey_clips_need_a_luma_engine(engine: Engines, write: Write, seen: Seen, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", pix_fmt="gray", codec="ffv1")
    with pytest.raises(InputError, match="luma engine"):
        filter_video(source, tmp_path / "out.mkv", engine("smooth-rgb"))


def test_the_result_tells_what_happened(engine: Engines, clip_pair: Any, seen: Seen, tmp_path: Path) -> None:
    calls: list[tuple[int, int | None, dict[str, float]]] = []
    result = filter_video(
        clip_pair.coded,
        tmp_path / "out.mp4",
        engine(),
        on_progress=lambda done, total, **figures: calls.append((done, total, figures)),
    )
    told = result.as_json()
    assert set(told) >= (
        {
            "input",
            "output",
            "engine",
            "frames_in",
            "frames_out",
            "width",
            "height",
            "seconds",
            "fps",
            "speed_x",
            "stages_ms",
            "latency_ms",
            "tflops",
            "peak_memory_mb",
            "tiles",
            "guard",
            "quality",
            "warnings",
        }
    )
    assert (told["frames_in"], told["frames_out"], told["width"], told["height"]) == (24, 24, 192, 128)
    assert set(told["stages_ms"]) == {"decode", "filter", "encode"} and min(told["stages_ms"].values()) > 0
    assert 0 < told["latency_ms"]["p50"] <= told["latency_ms"]["p95"] <= told["latency_ms"]["p99"]
    assert told["fps"] == pytest.approx(24 / told["seconds"])
    assert told["speed_x"] == pytest.approx(told["fps"] / 25)
    assert told["tflops"] == pytest.approx(2 * 9 * 192 * 128 * told["fps"] / 1e12)
    assert told["peak_memory_mb"] > 10
    assert told["guard"] == {
        "frames_flagged": 0,
        "frames_redone": 0,
        "frames_passed": 0,
        "tiles_flagged": 0,
        "events": [],
    }
    assert told["quality"] is None
    assert calls[-1][:2] == (24, 24) and set(calls[-1][2]) == {"fps", "speed", "stages_ms", "queues"}


def test_the_null_sink_writes_nothing(engine: Engines, clip_pair: Any, seen: Seen, tmp_path: Path) -> None:
    result = filter_video(clip_pair.coded, None, engine())
    assert (result.frames_in, result.frames_out, result.output) == (24, 24, None)
    assert list(tmp_path.iterdir()) == []


def test_the_reference_gives_psnr_of_the_planes_before_encoding(
    engine: Engines, clip_pair: Any, seen: Seen, tmp_path: Path
) -> None:
    smooth = engine()
    # So coarse an encoding that PSNR taken after it would be another.
    result = filter_video(clip_pair.coded, tmp_path / "out.mp4", smooth, crf=45, reference=clip_pair.clean)
    clean, coded = seen(clip_pair.clean), seen(clip_pair.coded)
    pairs = [(a[0], b[0]) for a, b in zip(clean.planes, coded.planes, strict=True)]
    decoded = np.mean([psnr(a, b) for a, b in pairs])
    filtered = np.mean([psnr(a, smooth(b[None, None])[0, 0]) for a, b in pairs])
    assert result.quality is not None
    assert result.quality.psnr_decoded == pytest.approx(decoded)
    assert result.quality.psnr_filtered == pytest.approx(filtered)
    assert result.quality.delta_psnr == pytest.approx(filtered - decoded)


@pytest.mark.parametrize(
    ("frames", "size", "message"),
    [(9, (96, 64), "only 9"), (15, (96, 64), "more than"), (12, (64, 64), "64x64")],
)
def test_a_reference_of_another_clip_is_refused(
    frames: int, size: tuple[int, int], message: str, engine: Engines, write: Write, seen: Seen, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.mkv")
    other = write(tmp_path / "other.mkv", pts=list(range(frames)), size=size)
    with pytest.raises(InputError, match=message):
        filter_video(source, tmp_path / "out.mkv", engine(), reference=other)
    assert leftovers(tmp_path) == []


def test_a_shifted_picture_is_flagged(engine: Engines, write: Write, seen: Seen, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv")
    result = filter_video(source, None, engine("shift-luma"))
    assert result.guard.frames_flagged == 12
    assert "12 filtered frames" in result.warnings[0]


def test_a_failing_engine_stops_everything_and_leaves_nothing(
    engine: Engines, write: Write, seen: Seen, tmp_path: Path
) -> None:
    def stream(real: Engine, planes: Iterable[Any]) -> Iterator[Any]:
        for number, each in enumerate(planes):
            if number == 5:
                raise RuntimeError("out of memory on the device")
            yield real(each.planes)

    source = write(tmp_path / "in.mkv", pts=list(range(60)))
    before = threading.active_count()
    with pytest.raises(PostfilterError, match="out of memory on the device") as caught:
        filter_video(source, tmp_path / "out.mkv", Wrapped(engine(), stream))  # type: ignore[arg-type]
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert leftovers(tmp_path) == []
    assert threading.active_count() <= before


def test_a_waiting_engine_is_not_flooded_with_frames(engine: Engines, write: Write, seen: Seen, tmp_path: Path) -> None:
    taken: list[int] = []

    def stream(real: Engine, planes: Iterable[Any]) -> Iterator[Any]:
        for each in planes:
            time.sleep(0.02)
            yield real(each.planes)

    source = write(tmp_path / "in.mkv", pts=list(range(40)))
    from postfilter.video import pipeline as room

    original = room.Pipeline._tell

    def spy(self: Any, on_progress: Any) -> None:
        taken.append(self.frames_in - len(self.latencies))
        original(self, on_progress)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room.Pipeline, "_tell", spy)
        filter_video(source, None, Wrapped(engine(), stream))  # type: ignore[arg-type]
    assert len(taken) > 3
    # four in the queue, one in the decoder's hand, one in the engine, and what has just left it
    assert max(taken) <= 8


def test_an_interrupt_stops_the_threads_and_leaves_nothing(
    engine: Engines, write: Write, seen: Seen, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int | None, **figures: float) -> None:
        raise KeyboardInterrupt

    def stream(real: Engine, planes: Iterable[Any]) -> Iterator[Any]:
        for each in planes:
            time.sleep(0.05)
            yield real(each.planes)

    source = write(tmp_path / "in.mkv", pts=list(range(100)))
    before, started = threading.active_count(), time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        filter_video(
            source,
            tmp_path / "out.mkv",
            Wrapped(engine(), stream),  # type: ignore[arg-type]
            on_progress=interrupt,
        )
    assert time.perf_counter() - started < 2.5  # the whole clip would take five seconds
    assert threading.active_count() <= before
    assert leftovers(tmp_path) == []


def test_unknown_codecs_and_bad_settings_are_told_with_what_is_known(
    engine: Engines, clip_pair: Any, seen: Seen, tmp_path: Path
) -> None:
    with pytest.raises(UnknownNameError, match=r"libx263.*libx264, libx265, .*ffv1"):
        filter_video(clip_pair.coded, tmp_path / "out.mp4", engine(), codec="libx263")
    with pytest.raises(UnknownNameError, match=r"quick.*ultrafast"):
        filter_video(clip_pair.coded, tmp_path / "out.mp4", engine(), preset="quick")
    with pytest.raises(OutputError, match="51"):
        filter_video(clip_pair.coded, tmp_path / "out.mp4", engine(), crf=70)
