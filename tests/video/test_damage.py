"""Inputs that cannot be read, outputs that cannot be written: a clear error, and nothing left behind."""

from __future__ import annotations

import os
import re
import resource
import signal
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from postfilter.errors import InputError, OutputError, UnknownNameError
from postfilter.runtime import Engine
from postfilter.video import filter_frames, filter_video, probe
from postfilter.video.reading.damage import Damage
from postfilter.video.reading.source import Source

Engines = Callable[..., Engine]
Write = Callable[..., Path]


@pytest.mark.parametrize("content", [b"", b"no video at all", np.random.default_rng(0).bytes(5000)])
def test_junk_is_refused(content: bytes, engine: Engines, tmp_path: Path) -> None:
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(content)
    with pytest.raises(InputError, match=r"junk\.mp4.*damaged"):
        filter_video(junk, tmp_path / "out.mp4", engine())
    assert [each.name for each in tmp_path.iterdir()] == ["junk.mp4"]


def test_absent_inputs_and_folders_are_refused(engine: Engines, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        filter_video(tmp_path / "absent.mp4", tmp_path / "out.mp4", engine())
    with pytest.raises(InputError, match="is a folder"):
        probe(tmp_path)


def test_a_file_without_video_is_refused(clip_pair: Any, engine: Engines, tmp_path: Path) -> None:
    import av

    sound = tmp_path / "sound.mp4"
    with av.open(str(clip_pair.coded)) as source, av.open(str(sound), "w") as target:
        track = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = track
                target.mux(packet)
    with pytest.raises(InputError, match=r"no video track \(it holds audio\)"):
        filter_video(sound, tmp_path / "out.mp4", engine())


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_of_a_clip_cut_short_what_is_there_is_filtered_and_told(
    suffix: str, write: Write, engine: Engines, tmp_path: Path
) -> None:
    # The header is put at the front, so that the file opens and ends half-way.
    front = {"movflags": "faststart"} if suffix == "mp4" else None
    whole = write(tmp_path / f"whole.{suffix}", pts=list(range(60)), container_options=front)
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    result = filter_video(cut, tmp_path / f"out.{suffix}", engine())
    assert 10 < result.frames_out < 60
    assert any("is cut short by" in each for each in result.warnings)
    with pytest.raises(InputError, match=r"is damaged: the file is cut short by \d+ bytes"):
        Source(cut, strict=True)


@pytest.fixture
def damaged(write: Write, tmp_path: Path) -> Path:
    """60 frames, of which some in the middle are lost: all of a key frame's group but its start."""
    source = write(
        tmp_path / "in.mp4", pts=list(range(60)), container_options={"movflags": "faststart"}, options={"g": "20"}
    )
    content = bytearray(source.read_bytes())
    middle = len(content) * 6 // 10
    content[middle : middle + 3000] = bytes(3000)
    source.write_bytes(content)
    return source


def test_around_damaged_frames_all_others_are_filtered(damaged: Path, engine: Engines, tmp_path: Path) -> None:
    result = filter_video(damaged, tmp_path / "out.mp4", engine())
    with Source(damaged) as source:
        frames, damage = list(source.frames()), source.damage
    assert result.frames_in == result.frames_out == len(frames)
    assert damage.packets_undecodable > 0
    assert len(frames) + damage.packets_undecodable == 60
    assert damage.frames_missing == damage.packets_undecodable
    assert [each.pts for each in frames] == sorted({each.pts for each in frames})
    assert f"{damage.packets_undecodable} packets cannot be decoded" in "".join(result.warnings)
    assert frames[-1].time == pytest.approx(59 / 25)  # behind the damage, decoding goes on


def test_frames_one_by_one_come_with_what_is_wrong_with_them(
    damaged: Path, engine: Engines, caplog: pytest.LogCaptureFixture
) -> None:
    with Source(damaged) as source:
        frames, told = list(source.frames()), source.damage.sentences()
    assert len(list(filter_frames(damaged, engine()))) == len(frames)
    assert told and [each.getMessage() for each in caplog.records] == [f"{damaged}: {each}" for each in told]
    with pytest.raises(InputError, match="is damaged"):
        list(filter_frames(damaged, engine(), strict=True))
    with pytest.raises(UnknownNameError, match="abacus"):
        next(filter_frames(damaged, engine(), hwaccel="abacus"))


@pytest.mark.parametrize("name", [each.name for each in fields(Damage)])
def test_damage_is_told_of_one_and_of_several(name: str) -> None:
    (one,), (two,) = (Damage(**{name: count}).sentences() for count in (1, 2))
    assert re.search(r"\b1 (byte|place|packet|frame)\b", one)
    assert re.search(r"\b2 (bytes|places|packets|frames)\b", two)


def test_a_damaged_clip_gives_the_same_frames_each_time(damaged: Path) -> None:
    def digests() -> list[bytes]:
        with Source(damaged) as source:
            return [bytes(each.planes[0]) for each in source.frames()]

    assert digests() == digests()


def test_strict_makes_damage_an_error(damaged: Path) -> None:
    with (
        Source(damaged, strict=True) as source,
        pytest.raises(InputError, match=r"is damaged at \d\.\d+ s: .*leave --strict away"),
    ):
        list(source.items())


def test_a_sound_clip_shows_no_damage(write: Write, tmp_path: Path) -> None:
    with Source(write(tmp_path / "in.mkv", pts=list(range(30))), strict=True) as source:
        assert len(list(source.frames())) == 30
        assert not source.damage
        assert source.warnings == []


def test_an_existing_output_is_kept_unless_told_otherwise(write: Write, engine: Engines, tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    target.write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"exists.*--overwrite"):
        filter_video(source, target, engine())
    assert target.read_bytes() == b"precious"
    filter_video(source, target, engine(), overwrite=True)
    assert probe(target).frames == 12


def test_a_failed_run_keeps_what_was_to_be_replaced(write: Write, engine: Engines, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv")
    reference = write(tmp_path / "reference.mkv", pts=list(range(5)))
    target = tmp_path / "out.mkv"
    target.write_bytes(b"precious")
    with pytest.raises(InputError, match="only 5"):
        filter_video(source, target, engine(), overwrite=True, reference=reference)
    assert target.read_bytes() == b"precious"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.mkv", "out.mkv", "reference.mkv"]


def test_the_input_is_never_the_output(write: Write, engine: Engines, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv")
    (tmp_path / "link.mkv").symlink_to(source)
    for target in (source, tmp_path / "link.mkv"):
        with pytest.raises(OutputError, match="the input itself"):
            filter_video(source, target, engine(), overwrite=True)


def test_folders_that_are_absent_or_closed_are_told(write: Write, engine: Engines, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv")
    with pytest.raises(OutputError, match="does not exist"):
        filter_video(source, tmp_path / "absent" / "out.mkv", engine())
    with pytest.raises(OutputError, match="is a folder"):
        filter_video(source, tmp_path, engine())
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.access(closed, os.W_OK):
        pytest.skip("this user may write anywhere")
    with pytest.raises(OutputError, match="cannot write to the folder"):
        filter_video(source, closed / "out.mkv", engine())


@pytest.fixture
def no_room() -> Iterator[None]:
    """Files may grow to 60,000 bytes only, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, previous)


@pytest.mark.usefixtures("clip_pair")
def test_a_full_disk_is_told_and_leaves_nothing(clip_pair: Any, engine: Engines, tmp_path: Path, no_room: None) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*out\.mkv"):
        filter_video(clip_pair.coded, tmp_path / "out.mkv", engine(), codec="ffv1")
    assert list(tmp_path.iterdir()) == []


def test_a_track_that_a_container_refuses_is_named(write: Write, engine: Engines, tmp_path: Path) -> None:
    def sound(container: Any) -> None:
        for number in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 48000, 1024 * number
            container.mux(container.streams.audio[0].encode(frame))
        container.mux(container.streams.audio[0].encode(None))

    clip = write(
        tmp_path / "in.flv", prepare=lambda container, _: container.add_stream("aac", 48000, layout="mono"), after=sound
    )
    # The packet with the decoder's settings, which Matroska wants in its header, becomes one of sound.
    clip.write_bytes(clip.read_bytes().replace(b"\xaf\x00", b"\xaf\x01", 1))
    with pytest.raises(OutputError, match=r"out\.mkv refuses track \d of the input \(audio, aac\).*try another suffix"):
        filter_video(clip, tmp_path / "out.mkv", engine())
    assert [each.name for each in tmp_path.iterdir()] == ["in.flv"]


def test_a_change_of_size_half_way_is_refused(write: Write, engine: Engines, tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.h264"), write(tmp_path / "b.h264", size=(64, 48))
    both = tmp_path / "both.h264"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(InputError, match=r"changes from 96x64.*to 64x48.*at frame 12"):
        filter_video(both, tmp_path / "out.mkv", engine())
    assert not (tmp_path / "out.mkv").exists()
