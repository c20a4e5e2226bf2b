"""What a container holds beside the filtered samples, and what stays of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.errors import OutputError
from postfilter.runtime import Engine
from postfilter.video import filter_video, probe

Engines = Callable[..., Engine]
Write = Callable[..., Path]
Seen = Callable[[Path], Any]

MILLISECOND = Fraction(1, 1000)
VARIABLE = [0, 7, 40, 41, 99, 180, 300, 301, 302, 420, 1000, 1017]


@pytest.mark.parametrize(
    ("suffix", "time_base", "pts", "tolerance"),
    [
        ("mkv", MILLISECOND, VARIABLE, 1e-9),
        ("mp4", Fraction(1, 90000), [90 * each for each in VARIABLE], 1e-9),
        ("mov", Fraction(1001, 30000), list(range(12)), 1e-9),
        ("mp4", Fraction(1, 90000), [450000 + 3003 * each for each in range(12)], 1e-9),
        ("ts", Fraction(1, 90000), [3600 * each for each in range(12)], 1e-9),
    ],
)
def test_timestamps_stay(
    suffix: str,
    time_base: Fraction,
    pts: list[int],
    tolerance: float,
    engine: Engines,
    write: Write,
    seen: Seen,
    tmp_path: Path,
) -> None:
    source = write(tmp_path / f"in.{suffix}", pts=pts, time_base=time_base)
    filter_video(source, tmp_path / f"out.{suffix}", engine())
    before, after = seen(source).seconds, seen(tmp_path / f"out.{suffix}").seconds
    assert len(before) == len(after) == len(pts)
    for old, new in zip(before, after, strict=True):
        assert abs((old - before[0]) - (new - after[0])) <= tolerance


def test_b_frames_do_not_move_sound_against_picture(
    engine: Engines, clip_pair: Any, seen: Seen, tmp_path: Path
) -> None:
    filter_video(clip_pair.coded, tmp_path / "out.mp4", engine(), preset="medium")
    before, after = seen(clip_pair.coded), seen(tmp_path / "out.mp4")
    assert [content for _, content in before.packets[1]] == [content for _, content in after.packets[1]]
    for (old, _), (new, _) in zip(before.packets[1], after.packets[1], strict=True):
        assert abs((old - before.seconds[0]) - (new - after.seconds[0])) < 1e-4


def test_a_transport_streams_clock_begins_at_zero_elsewhere(
    engine: Engines, write: Write, seen: Seen, tmp_path: Path
) -> None:
    hour = 90000 * 3600
    source = write(tmp_path / "in.ts", pts=[hour + 3600 * each for each in range(12)], time_base=Fraction(1, 90000))
    filter_video(source, tmp_path / "out.mkv", engine())
    after = seen(tmp_path / "out.mkv").seconds
    assert after[0] < 1 and after[-1] - after[0] == pytest.approx(11 / 25, abs=0.001)


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "h264"), ("libx265", "hevc")])
@pytest.mark.parametrize("target", ["mkv", "mp4"])
def test_raw_byte_streams_get_the_time_of_their_frame_rate(
    codec: str, suffix: str, target: str, engine: Engines, write: Write, seen: Seen, tmp_path: Path
) -> None:
    source = write(tmp_path / f"in.{suffix}", codec=codec, options={"preset": "medium"})
    filter_video(source, tmp_path / f"out.{target}", engine())
    seconds = seen(tmp_path / f"out.{target}").seconds
    assert len(seconds) == 12
    assert np.allclose(np.diff(seconds), 1 / 25, atol=0.0006)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "ffv1"])
@pytest.mark.parametrize(
    ("pix_fmt", "tags"),
    [
        ("yuv420p", (1, 1, 1, 1)),
        ("yuv420p", (6, 6, 6, 1)),
        ("yuv420p", (2, 2, 2, 1)),
        ("yuv420p", (1, 1, 1, 2)),
        ("yuv420p10le", (9, 16, 9, 1)),
        ("yuv420p10le", (9, 18, 9, 2)),
    ],
)
def test_colour_tags_stay(
    codec: str, pix_fmt: str, tags: tuple[int, int, int, int], engine: Engines, write: Write, seen: Seen, tmp_path: Path
) -> None:
    def tag(container: Any, stream: Any) -> None:
        context = stream.codec_context
        context.colorspace, context.color_trc, context.color_primaries, context.color_range = tags

    source = write(tmp_path / "in.mkv", pix_fmt=pix_fmt, codec="ffv1", prepare=tag)
    assert seen(source).tags == tags
    filter_video(source, tmp_path / "out.mkv", engine(bit_depth=10 if "10" in pix_fmt else 8), codec=codec)
    assert seen(tmp_path / "out.mkv").tags == tags


@pytest.mark.parametrize("siting", ["center", "topleft"])
def test_the_chroma_location_stays(siting: str, engine: Engines, write: Write, seen: Seen, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", options={"chroma_sample_location": siting})
    assert probe(source).siting == siting
    filter_video(source, tmp_path / "out.mkv", engine())
    assert probe(tmp_path / "out.mkv").siting == siting


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_and_aspect_stay(
    suffix: str, degrees: int, engine: Engines, write: Write, seen: Seen, tmp_path: Path
) -> None:
    if not hasattr(av.video.stream.VideoStream, "set_display_matrix"):
        pytest.skip("this PyAV cannot write a rotation")

    def prepare(container: Any, stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        stream.set_display_rotation(degrees)

    source = write(tmp_path / f"in.{suffix}", prepare=prepare)
    filter_video(source, tmp_path / f"out.{suffix}", engine())
    before, after = seen(source), seen(tmp_path / f"out.{suffix}")
    assert abs(before.rotation) == abs(degrees) and before.aspect == Fraction(16, 11)
    assert (after.rotation, after.aspect) == (before.rotation, before.aspect)


def test_interlaced_frames_stay_interlaced(engine: Engines, write: Write, seen: Seen, tmp_path: Path) -> None:
    def prepare(container: Any, stream: Any) -> None:
        stream.codec_context.flags |= 1 << 18  # AV_CODEC_FLAG_INTERLACED_DCT

    source = write(tmp_path / "in.mkv", prepare=prepare)
    assert seen(source).interlaced
    result = filter_video(source, tmp_path / "out.mkv", engine())
    assert seen(tmp_path / "out.mkv").interlaced and result.warnings == []
    assert "interlaced" in filter_video(source, tmp_path / "out2.mkv", engine(), codec="libx265").warnings[0]


@pytest.fixture(scope="module")
def rich_clip(write: Write, photograph: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Matroska with two sound tracks, subtitles, a second video, a cover picture, a font, chapters and titles."""
    path = tmp_path_factory.mktemp("rich") / "in.mkv"
    second = write(path.with_name("second.mkv"), size=(64, 48), options={"bf": "0"})
    sounds = [path.with_name(f"{language}.mka") for language in ("deu", "fra")]
    for number, sound in enumerate(sounds):
        with av.open(str(sound), "w") as container:
            stream = container.add_stream("flac", rate=8000, layout="mono")
            samples = (np.sin(np.arange(4000) * (0.1 + number)) * 9000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 8000, 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    opened = [av.open(str(each)) for each in (*sounds, second)]
    tracks: list[Any] = []

    def prepare(container: Any, stream: Any) -> None:
        container.metadata["title"] = "A pan"
        stream.metadata.update(language="eng", title="pan")
        for each, language, disposition in zip(opened, ("deu", "fra", "ita"), (1, 64, 0), strict=True):
            track = container.add_stream_from_template(each.streams[0], opaque=True)
            track.metadata.update(language=language, title=f"in {language}")
            track.disposition = disposition
            tracks.append(track)
        subtitles = container.add_mux_stream("subrip")
        subtitles.metadata.update(language="eng", title="words")
        subtitles.time_base = MILLISECOND
        tracks.append(subtitles)
        container.add_attachment("font.ttf", "application/x-truetype-font", b"no real font" * 40)
        container.add_attachment("cover.jpg", "image/jpeg", jpeg(photograph))
        container.set_chapters(
            [
                {
                    "id": n + 1,
                    "start": 240 * n,
                    "end": 240 * (n + 1),
                    "time_base": MILLISECOND,
                    "metadata": {"title": t},
                }
                for n, t in enumerate(("first", "second"))
            ]
        )

    def after(container: Any) -> None:
        for track, each in zip(tracks, opened, strict=False):
            for packet in each.demux():
                if packet.dts is not None:
                    packet.stream = track
                    container.mux(packet)
        add_packets(container, tracks[3], [(0, b"one"), (200, b"two")], time_base=MILLISECOND)

    write(path, time_base=MILLISECOND, pts=[40 * n for n in range(12)], prepare=prepare, after=after)
    for each in opened:
        each.close()
    return path


def test_all_other_tracks_are_copied(rich_clip: Path, engine: Engines, seen: Seen, tmp_path: Path) -> None:
    result = filter_video(rich_clip, tmp_path / "out.mkv", engine())
    before, after = seen(rich_clip), seen(tmp_path / "out.mkv")
    kinds = [kind for kind, *_ in before.tracks]
    assert sorted(kinds) == ["attachment", "audio", "audio", "subtitle", "video", "video", "video"]
    assert after.tracks == before.tracks
    assert after.attachments == before.attachments and len(after.attachments) == 1
    assert after.chapters == before.chapters and len(after.chapters) == 2
    assert after.metadata["title"] == "A pan"
    for index in range(1, len(kinds)):
        assert [p for _, p in after.packets.get(index, [])] == [p for _, p in before.packets.get(index, [])]
    assert len(before.packets[4]) == 2 and len(before.packets[3]) == 12 and len(before.packets[1]) > 0
    assert result.frames_out == 12 and result.warnings == []


def test_what_a_container_cannot_hold_is_refused_before_any_work(
    rich_clip: Path, engine: Engines, seen: Seen, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match=r"track \d.*mp4 file.*mkv"):
        filter_video(rich_clip, tmp_path / "out.mp4", engine())
    assert list(tmp_path.iterdir()) == []


def test_a_codec_that_the_container_cannot_hold_is_refused(
    engine: Engines, clip_pair: Any, seen: Seen, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="webm"):
        filter_video(clip_pair.clean, tmp_path / "out.webm", engine())
    with pytest.raises(OutputError, match=r"suffix '\.xyz'"):
        filter_video(clip_pair.clean, tmp_path / "out.xyz", engine())
    assert list(tmp_path.iterdir()) == []


def test_mp4_keeps_title_date_and_language(engine: Engines, write: Write, seen: Seen, tmp_path: Path) -> None:
    def prepare(container: Any, stream: Any) -> None:
        container.metadata.update(title="A pan", creation_time="2021-03-04T05:06:07.000000Z")
        stream.metadata.update(language="deu")

    source = write(tmp_path / "in.mp4", prepare=prepare)
    filter_video(source, tmp_path / "out.mp4", engine())
    before, after = seen(source), seen(tmp_path / "out.mp4")
    assert after.metadata["title"] == "A pan"
    assert after.metadata["creation_time"] == before.metadata["creation_time"]
    assert after.tracks == before.tracks and after.tracks[0][1] == "deu"


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_cover_stays_a_cover(
    suffix: str, engine: Engines, write: Write, photograph: NDArray[np.uint8], tmp_path: Path
) -> None:
    picture, covers = jpeg(photograph), []

    def prepare(container: Any, stream: Any) -> None:
        covers.append(container.add_mux_stream("mjpeg", width=32, height=32))
        covers[0].disposition, covers[0].time_base = 1024, MILLISECOND

    def after(container: Any) -> None:
        add_packets(container, covers[0], [(0, picture)], time_base=MILLISECOND)

    source = write(tmp_path / "in.mp4", prepare=prepare, after=after)
    filter_video(source, tmp_path / f"out.{suffix}", engine())
    filter_video(tmp_path / f"out.{suffix}", tmp_path / f"again.{suffix}", engine())
    for name in ("out", "again"):
        with av.open(str(tmp_path / f"{name}.{suffix}")) as container:
            cover = container.streams[1]
            assert int(cover.disposition) & 1024 and cover.codec_context.name == "mjpeg"
            assert next(bytes(each) for each in container.demux(cover)) == picture


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv"])
def test_the_cameras_keys_stay(target: str, engine: Engines, write: Write, seen: Seen, tmp_path: Path) -> None:
    def prepare(container: Any, stream: Any) -> None:
        container.metadata.update({"com.android.version": "13", "title": "A pan"})

    source = write(tmp_path / "in.mp4", prepare=prepare, container_options={"movflags": "use_metadata_tags"})
    filter_video(source, tmp_path / target, engine())
    kept = {key.lower(): value for key, value in seen(tmp_path / target).metadata.items()}
    assert (kept["com.android.version"], kept["title"]) == ("13", "A pan")


def add_packets(container: Any, stream: Any, packets: list[tuple[int, bytes]], *, time_base: Fraction) -> None:
    for at, content in packets:
        packet = av.Packet(content)
        packet.pts = packet.dts = at
        packet.time_base, packet.stream, packet.duration = time_base, stream, 500
        container.mux(packet)


def jpeg(photograph: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="image2pipe") as container:
        stream: Any = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
        view = av.VideoFrame.from_ndarray(np.ascontiguousarray(photograph[:32, :32]), "rgb24")
        container.mux(stream.encode(view.reformat(format="yuvj420p")))
        container.mux(stream.encode(None))
    return buffer.getvalue()
