"""A run that is killed, interrupted or out of room goes on where it was, and nobody can tell from the output."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from postfilter.errors import InputError, Interrupted, OutputError, PostfilterError
from postfilter.runtime import Engine
from postfilter.video import filter_video
from postfilter.video.writing.journal import read_journal
from postfilter.video.writing.work_folder import WorkFolder, work_folder_of

Engines = Callable[..., Engine]
Write = Callable[..., Path]

FRAMES, SEGMENT = 64, 12
"""Five complete segments and a rest."""
STEPS = [33, 17, 90, 40, 8, 41]
VARIABLE = [sum(STEPS[k % 6] for k in range(i)) for i in range(FRAMES)]
"""Milliseconds."""


class Failing:
    """An engine that breaks down after some frames, or dawdles."""

    def __init__(self, engine: Engine, *, after: int = 1 << 30, seconds: float = 0.0) -> None:
        self._engine, self._after, self._seconds = engine, after, seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def stream(self, items: Iterable[Any], **_: Any) -> Iterator[Any]:
        for number, each in enumerate(items):
            if number == self._after:
                time.sleep(0.15)  # until most of the frames before are encoded
                raise RuntimeError("the device fell off the bus")
            time.sleep(self._seconds)
            yield self._engine(each.planes)


def run(source: Path, target: Path, engine: Any, **options: Any) -> Any:
    return filter_video(source, target, engine, **{"segment_frames": SEGMENT, "preset": "medium", **options})


def stop_early(source: Path, target: Path, engine: Engine, *, after: int = 40, **options: Any) -> int:
    """Let the engine fail; return how many frames are kept."""
    with pytest.raises(PostfilterError, match="fell off the bus"):
        run(source, target, Failing(engine, after=after), **options)
    assert not target.exists()
    journal = read_journal(work_folder_of(target) / "journal.json")
    return 0 if journal is None else journal.frames


def packets(path: Path) -> dict[int, list[tuple[Any, ...]]]:
    found: dict[int, list[tuple[Any, ...]]] = {}
    with av.open(str(path)) as container:
        for each in container.demux():
            if each.size:
                row = (each.pts, each.dts, each.duration, each.is_keyframe, bytes(each))
                found.setdefault(each.stream.index, []).append(row)
    return found


def left(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.fixture(scope="module")
def source(write: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("source") / "in.mkv", pts=list(range(FRAMES)))


@pytest.mark.parametrize(
    ("codec", "suffix", "variable"),
    [
        ("libx264", "mp4", True),
        ("libx264", "mkv", True),
        ("libx264", "mov", False),
        ("libx264", "ts", False),
        ("libx265", "mp4", True),
        ("ffv1", "mkv", False),
    ],
)
def test_what_goes_on_is_packet_for_packet_what_was_not_stopped(
    codec: str, suffix: str, variable: bool, write: Write, engine: Engines, tmp_path: Path
) -> None:
    timing = {"pts": VARIABLE, "time_base": Fraction(1, 1000)} if variable else {"pts": list(range(FRAMES))}
    source = write(tmp_path / "in.mkv", **timing)
    whole, target = tmp_path / f"whole.{suffix}", tmp_path / f"out.{suffix}"
    run(source, whole, engine(), codec=codec)
    kept = stop_early(source, target, engine(), codec=codec)
    result = run(source, target, engine(), codec=codec, resume=True)
    assert result.frames_resumed == kept >= SEGMENT and result.frames_in == result.frames_out == FRAMES
    assert packets(target) == packets(whole)
    video = packets(target)[0]
    assert len(video) == FRAMES and sum(each[3] for each in video) >= 6
    if suffix != "mkv":  # which has no decoding times
        assert all(before[1] < after[1] <= after[0] for before, after in pairwise(video))
    assert left(tmp_path) == sorted(["in.mkv", whole.name, target.name])


def test_presentation_times_stay_what_they_were(write: Write, engine: Engines, seen: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", pts=VARIABLE, time_base=Fraction(1, 1000))
    for target in (tmp_path / "out.mp4", tmp_path / "out.mkv"):
        stop_early(source, target, engine())
        run(source, target, engine(), resume=True)
        assert seen(target).seconds == pytest.approx([at / 1000 for at in VARIABLE], abs=1e-6)


def test_copied_tracks_are_whole_and_lie_beside_their_video(clip_pair: Any, engine: Engines, tmp_path: Path) -> None:
    stop_early(clip_pair.coded, tmp_path / "out.mp4", engine(), after=20)
    run(clip_pair.coded, tmp_path / "out.mp4", engine(), resume=True)
    run(clip_pair.coded, tmp_path / "whole.mp4", engine())
    assert packets(tmp_path / "out.mp4")[1] == packets(clip_pair.coded)[1]
    order = []
    with av.open(str(tmp_path / "out.mp4")) as container:
        for each in container.demux():
            if each.size:
                order.append((each.pos, float(each.dts * each.time_base)))
    order.sort()
    assert all(later[1] > earlier[1] - 0.3 for earlier, later in pairwise(order))
    assert packets(tmp_path / "out.mp4") == packets(tmp_path / "whole.mp4")


def test_a_run_may_be_stopped_again_and_again_and_at_its_end(source: Path, engine: Engines, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    run(source, tmp_path / "whole.mkv", engine())
    kept = 0
    for after in (13, 0, 30, 20):
        before, kept = kept, stop_early(source, target, engine(), after=after, resume=True)
        assert kept >= before
    assert run(source, target, engine(), resume=True).frames_resumed == kept > 3 * SEGMENT
    assert packets(target) == packets(tmp_path / "whole.mkv")


def test_without_an_earlier_run_it_is_the_first(source: Path, engine: Engines, tmp_path: Path) -> None:
    assert run(source, tmp_path / "out.mkv", engine(), resume=True).frames_resumed == 0
    assert left(tmp_path) == ["out.mkv"]


def test_without_resume_it_begins_afresh_and_says_so(source: Path, engine: Engines, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    kept = stop_early(source, target, engine())
    result = run(source, target, engine(), crf=30)
    assert result.frames_resumed == 0 and any(
        f"{kept} frames" in each and "--resume" in each for each in result.warnings
    )
    run(source, tmp_path / "whole.mkv", engine(), crf=30)
    assert packets(target) == packets(tmp_path / "whole.mkv")


def test_other_settings_engines_and_inputs_are_refused_by_name(
    source: Path, write: Write, engine: Engines, tmp_path: Path
) -> None:
    target = tmp_path / "out.mkv"
    kept = stop_early(source, target, engine())
    with pytest.raises(OutputError, match=r"encoder crf: 16 before, 20 now.*leave out --resume"):
        run(source, target, engine(), crf=20, resume=True)
    with pytest.raises(OutputError, match="engine graph_sha256"):
        run(source, target, engine("same-luma"), resume=True)
    other = write(tmp_path / "other.mkv", pts=list(range(FRAMES)))
    os.utime(other, ns=(0, 0))
    with pytest.raises(OutputError, match="input mtime_ns"):
        run(other, target, engine(), resume=True)
    # What is refused loses nothing.
    assert run(source, target, engine(), resume=True).frames_resumed == kept >= SEGMENT


@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_a_damaged_segment_goes_with_all_after_it(how: str, source: Path, engine: Engines, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    kept = stop_early(source, target, engine())
    segment = work_folder_of(target) / "000001.segment"
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    {
        "changed": lambda: segment.write_bytes(content),
        "cut": lambda: segment.write_bytes(content[:100]),
        "gone": segment.unlink,
    }[how]()
    result = run(source, target, engine(), resume=True)
    assert result.frames_resumed == 12 and any(f"{kept // SEGMENT - 1} segments" in each for each in result.warnings)
    run(source, tmp_path / "whole.mkv", engine())
    assert packets(target) == packets(tmp_path / "whole.mkv")


def test_a_damaged_journal_is_no_journal(source: Path, engine: Engines, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    stop_early(source, target, engine())
    journal = work_folder_of(target) / "journal.json"
    journal.write_bytes(journal.read_bytes()[:-20])
    assert run(source, target, engine(), resume=True).frames_resumed == 0


def test_what_was_counted_is_counted_over_both_parts(write: Write, engine: Engines, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", pts=list(range(FRAMES)))
    shift = engine("shift-luma")
    whole = run(source, tmp_path / "whole.mkv", shift, reference=source)
    kept = stop_early(source, tmp_path / "out.mkv", shift, reference=source)
    result = run(source, tmp_path / "out.mkv", shift, reference=source, resume=True)
    assert result.guard.counts() == whole.guard.counts() and result.guard.frames_flagged == FRAMES
    assert result.guard.events[0].frame == kept
    assert result.quality.psnr_filtered == pytest.approx(whole.quality.psnr_filtered)


def test_two_runs_do_not_write_one_target(source: Path, engine: Engines, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    first = WorkFolder(target)
    for resume in (False, True):
        with pytest.raises(OutputError, match="another run is writing"):
            run(source, target, engine(), resume=resume)
    first.leave(keep=False)
    run(source, target, engine())
    assert left(tmp_path) == ["out.mkv"]


def test_an_input_that_fails_leaves_nothing_to_go_on_from(write: Write, engine: Engines, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", pts=list(range(FRAMES)))
    short = write(tmp_path / "short.mkv", pts=list(range(40)))
    with pytest.raises(InputError, match="only 40"):
        run(source, tmp_path / "out.mkv", engine(), reference=short)
    assert left(tmp_path) == ["in.mkv", "short.mkv"]


class PressedAt:
    """Presses Ctrl-C once so many frames are done."""

    def __init__(self, frames: int) -> None:
        self.frames, self.pressed, self.answers = frames, False, 0

    def on_progress(self, done: int, total: int | None, **figures: Any) -> None:
        if done >= self.frames and not self.pressed:
            self.pressed = True
            raise KeyboardInterrupt

    def on_interrupt(self) -> None:
        self.answers += 1


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_an_interrupted_run_leaves_a_valid_part_and_goes_on(
    suffix: str, clip_pair: Any, write: Write, engine: Engines, seen: Any, tmp_path: Path
) -> None:
    source = clip_pair.coded
    target, part = tmp_path / f"out.{suffix}", tmp_path / f"out.partial.{suffix}"
    pressed = PressedAt(8)
    slow = Failing(engine(), seconds=0.03)
    options = {"on_progress": pressed.on_progress, "on_interrupt": pressed.on_interrupt}
    six = {"segment_frames": 6}
    with pytest.raises(Interrupted, match=rf"out\.partial\.{suffix} holds the first \d+ of 24 frames.*--resume"):
        run(source, target, slow, **six, **options)
    assert pressed.answers == 1 and left(tmp_path) == sorted([f".out.{suffix}.postfilter", part.name])
    clip = seen(part)
    frames = len(clip.planes)
    assert 8 <= frames < 24
    if suffix != "ts":
        assert f"partial: the first {frames} of 24 frames" in (clip.metadata.get("comment") or clip.metadata["COMMENT"])
    run(source, tmp_path / f"whole.{suffix}", engine(), **six)
    whole = packets(tmp_path / f"whole.{suffix}")
    # A complete segment is the same in both, and the sound goes as far as the picture.
    assert [each[-1] for each in packets(part)[0][:6]] == [each[-1] for each in whole[0][:6]]
    sound = [each[-1] for each in packets(part)[1]]
    assert sound == [each[-1] for each in whole[1][: len(sound)]]
    assert len(sound) == pytest.approx(frames / 25 * 48000 / 1024, abs=4)
    assert run(source, target, engine(), **six, resume=True).frames_resumed == frames // 6 * 6
    assert packets(target) == whole
    assert left(tmp_path) == sorted([target.name, f"whole.{suffix}"])


def test_a_part_replaces_no_file_of_somebody_else(source: Path, engine: Engines, tmp_path: Path) -> None:
    (tmp_path / "out.partial.mkv").write_bytes(b"precious")
    for _ in range(2):
        with pytest.raises(Interrupted, match=r"out\.partial-2\.mkv"):
            run(source, tmp_path / "out.mkv", Failing(engine(), seconds=0.01), on_progress=PressedAt(20).on_progress)
    run(source, tmp_path / "out.mkv", engine(), resume=True)
    assert (tmp_path / "out.partial.mkv").read_bytes() == b"precious"
    assert left(tmp_path) == ["out.mkv", "out.partial.mkv"]


@pytest.fixture
def no_room() -> Iterator[Callable[[int], None]]:
    """`no_room(bytes)`: no file may grow beyond, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, previous)


def test_a_full_disk_keeps_what_is_done_until_there_is_room(
    source: Path, engine: Engines, tmp_path: Path, no_room: Callable[[int], None]
) -> None:
    target = tmp_path / "out.mkv"
    run(source, tmp_path / "whole.mkv", engine(), codec="ffv1")
    no_room((tmp_path / "whole.mkv").stat().st_size // 2)
    with pytest.raises(
        OutputError,
        match=r"cannot write .*out\.mkv \(File too large\); make room on the disk, then go on with",
    ):
        run(source, target, engine(), codec="ffv1")
    work = work_folder_of(target)
    assert not any("container" in name for name in left(work)) and any("segment" in name for name in left(work))
    no_room(1 << 30)
    assert run(source, target, engine(), codec="ffv1", resume=True).frames_resumed >= SEGMENT
    assert packets(target) == packets(tmp_path / "whole.mkv")


SERVER = """
import json, os, sys, time
from postfilter.runtime import load_engine
from postfilter.video import filter_video
import openvino
for line in sys.stdin:
    source, target, folder, options = json.loads(line)
    pid = os.fork()  # no thread runs yet, so that each run costs its own work alone
    if not pid:
        engine = load_engine(folder, threads=1)
        whole = type(engine).stream
        type(engine).stream = lambda *a, **b: (time.sleep(0.005) or each for each in whole(*a, **b))
        print("begins", flush=True)
        filter_video(source, target, engine, **options)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


def test_killed_at_random_moments_it_becomes_what_an_uninterrupted_run_makes(
    write: Write, engine_folders: dict[str, Path], engine: Engines, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.mkv", pts=list(range(100)))
    target, rng = tmp_path / "out.mp4", random.Random(4)
    options = {"segment_frames": 8, "resume": True}
    filter_video(source, tmp_path / "whole.mp4", engine(), segment_frames=8)
    request = json.dumps([str(source), str(target), str(engine_folders["smooth-luma"]), options]) + "\n"
    kept = []
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        for _ in range(40):
            server.stdin.write(request)
            pid = int(server.stdout.readline())
            assert server.stdout.readline() == "begins\n"
            time.sleep(rng.uniform(0.15, 0.45))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            status = int(server.stdout.readline())
            if target.exists():  # at its end, or so near to it that the name was given
                break
            assert status == signal.SIGKILL
            journal = read_journal(work_folder_of(target) / "journal.json")
            kept.append(journal.frames if journal is not None else 0)
        server.stdin.close()
    assert len(kept) >= 3 and kept == sorted(kept) and kept[-1] >= 8
    assert packets(target) == packets(tmp_path / "whole.mp4")
