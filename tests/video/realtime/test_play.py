"""Streams played in real time: files, pipes, network addresses and a window, on this machine."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av import VideoFrame

from postfilter.errors import InputError, MissingDependencyError, OutputError
from postfilter.runtime import Engine, load_engine
from postfilter.video import filter_frames, open_stream, play_video
from postfilter.video.reading.source import Source
from postfilter.video.realtime.clock import StreamClock
from postfilter.video.realtime.ladder import Ladder
from postfilter.video.realtime.player import Player
from postfilter.video.realtime.result import RealtimeResult
from postfilter.video.realtime.rungs import build_rungs
from postfilter.video.writing.sink import NullSink


def add_up(result: RealtimeResult) -> None:
    """What must hold however busy the machine is."""
    assert result.frames_in == result.frames_out + result.frames_dropped
    assert result.frames_out <= sum(each.frames for each in result.rungs) <= result.frames_in
    assert sum(each.seconds for each in result.rungs) == pytest.approx(result.seconds, abs=0.2)
    assert result.frames_filtered <= result.frames_in
    assert list(result.latency_ms.values()) == sorted(result.latency_ms.values())


def through_a_pipe(content: bytes, folder: Path) -> tuple[Path, threading.Thread]:
    """A named pipe and the thread that writes into it as fast as it is read."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(content), daemon=True)
    writer.start()
    return pipe, writer


def test_a_file_takes_as_long_as_it_plays_and_stays_what_it_is(
    engine: Callable[..., Engine], sounding: Callable[..., Path], seen: Any, tmp_path: Path
) -> None:
    source, target = sounding("mkv", frames=20), tmp_path / "out.mkv"
    told: list[dict[str, Any]] = []
    result = play_video(
        source, target, [engine()], codec="ffv1", on_progress=lambda *_, **figures: told.append(figures)
    )
    add_up(result)
    assert 19 / 30 <= result.seconds < 19 / 30 + 2
    assert (result.frames_in, result.frames_out, result.ended) == (20, 20, "end of stream")
    before, after = seen(source), seen(target)
    assert after.seconds == pytest.approx(before.seconds, abs=0.0006)
    assert [data for _, data in after.packets[1]] == [data for _, data in before.packets[1]]
    if result.frames_filtered == 20:  # the machine had time
        for planes, frame in zip(after.planes, filter_frames(source, engine()), strict=True):
            np.testing.assert_array_equal(planes[0], frame.planes[0])
    assert told and set(told[0]) == {"fps", "missed", "rung", "stages_ms", "queues"}


def test_the_result_has_the_keys_of_filter_video(engine: Callable[..., Engine], sounding: Callable[..., Path]) -> None:
    result = play_video(sounding("mkv", frames=8), None, [engine("same-rgb"), engine()], latency_ms=300)
    content = result.as_json()
    assert {
        "input", "output", "engine", "frames_in", "frames_out", "width", "height", "seconds", "fps", "speed_x",
        "stages_ms", "latency_ms", "tflops", "peak_memory_mb", "tiles", "guard", "quality", "warnings", "realtime",
    } <= content.keys()  # fmt: skip
    real = content["realtime"]
    assert real["deadline_ms"] == 300 and real["miss_rate"] == result.miss_rate
    assert [each["name"] for each in real["rungs"]] == [
        "smooth fp32 openvino (1)", "smooth fp32 openvino (2)", "half", "pass",
    ]  # fmt: skip
    assert set(real["latency_ms"]) == {"p50", "p95", "p99", "p99_9"}


def test_udp_in_and_tcp_out(
    engine: Callable[..., Engine],
    sounding: Callable[..., Path],
    free_port: int,
    send: Callable[[Path, str], None],
    receive: Any,
) -> None:
    receiver = receive(f"tcp://127.0.0.1:{free_port}?listen=1")
    send(sounding("ts", frames=60), f"udp://127.0.0.1:{free_port}?pkt_size=1316")
    result = play_video(
        open_stream(f"udp://127.0.0.1:{free_port}", timeout_seconds=0.7), f"tcp://127.0.0.1:{free_port}", [engine()]
    )
    receiver.join()
    add_up(result)
    assert result.ended == "silence" and result.restarts == 0
    assert result.frames_in >= 20, "joined in the middle, at a key frame, as soon as a busy machine opens the address"
    assert receiver.packets == result.frames_out and receiver.sound > 20
    # Nothing is held back on the way, neither in the encoder nor in the container; the last frames come out of
    # demuxers, parsers and the decoder with the silence alone.
    settled = receiver.delays[len(receiver.delays) // 2 : -10]
    assert max(settled) - min(settled) < 0.4


def test_a_named_pipe_that_is_written_as_fast_as_can_be_plays_at_its_clock(
    engine: Callable[..., Engine], sounding: Callable[..., Path], tmp_path: Path
) -> None:
    pipe, writer = through_a_pipe(sounding("ts", frames=30).read_bytes(), tmp_path)
    result = play_video(pipe, tmp_path / "out.mkv", [engine()])
    writer.join()
    add_up(result)
    assert result.frames_in == 30 and result.seconds >= 29 / 30 - 0.1


def test_a_stream_that_begins_anew_runs_on(
    engine: Callable[..., Engine], sounding: Callable[..., Path], seen: Any, tmp_path: Path
) -> None:
    pipe, writer = through_a_pipe(2 * sounding("ts", frames=20).read_bytes(), tmp_path)
    result = play_video(pipe, tmp_path / "out.mkv", [engine()])
    writer.join()
    add_up(result)
    assert result.restarts == 1 and result.frames_in == 40
    out = seen(tmp_path / "out.mkv")
    steps = np.diff(out.seconds)
    assert steps.min() > 0.02 and steps.max() < 0.1
    assert max(at for at, _ in out.packets[1]) == pytest.approx(max(out.seconds), abs=0.2)


def test_lost_packets_are_told_and_the_stream_goes_on(
    engine: Callable[..., Engine], sounding: Callable[..., Path], tmp_path: Path
) -> None:
    packets = np.frombuffer(sounding("ts").read_bytes(), np.uint8).reshape(-1, 188)
    kept = np.arange(len(packets)) % 23 != 22
    kept[: len(packets) // 4] = True
    pipe, writer = through_a_pipe(packets[kept].tobytes(), tmp_path)
    result = play_video(pipe, tmp_path / "out.mkv", [engine()])
    writer.join(10)
    add_up(result)
    assert result.ended == "end of stream" and result.frames_in >= 25
    assert any("damaged packets of copied tracks" in each for each in result.warnings)


def test_a_stream_that_changes_its_size_ends_there_and_is_kept(
    engine: Callable[..., Engine], sounding: Callable[..., Path], write: Callable[..., Path], tmp_path: Path
) -> None:
    other = write(tmp_path / "other.ts", size=(64, 64), pts=list(range(30)))
    pipe, _ = through_a_pipe(sounding("ts", frames=20).read_bytes() + other.read_bytes(), tmp_path)
    with pytest.raises(InputError, match="64x64"):
        play_video(pipe, tmp_path / "out.mkv", [engine()])
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20


def test_an_output_that_is_blocked_for_a_while(engine: Callable[..., Engine], sounding: Callable[..., Path]) -> None:
    """Nothing piles up meanwhile, and afterwards it goes on."""
    reading, writing = os.pipe()
    taken: list[bytes] = []

    def take() -> None:
        time.sleep(1.5)
        while chunk := os.read(reading, 65536):
            taken.append(chunk)

    receiver = threading.Thread(target=take)
    receiver.start()
    # Lossless pictures fill the pipe within a few frames.
    result = play_video(sounding("mkv", frames=60), f"pipe:{writing}", [engine()], codec="ffv1")
    os.close(writing)
    receiver.join()
    os.close(reading)
    add_up(result)
    assert result.frames_in == 60 and result.frames_out >= 20
    assert result.latency_ms["p99_9"] > 400 and result.frames_missed + result.frames_dropped > 0
    with av.open(io.BytesIO(b"".join(taken))) as container:
        assert sum(1 for _ in container.decode(video=0)) == result.frames_out


@pytest.mark.parametrize(("packed", "taken"), [("yuyv422", "yuv422p"), ("yvyu422", "yuv422p"), ("rgb24", "yuv420p")])
def test_packed_pictures_of_cameras_are_taken(
    packed: str, taken: str, engine: Callable[..., Engine], tmp_path: Path
) -> None:
    path = tmp_path / "camera.nut"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("rawvideo", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, packed
        for number in range(6):
            frame = VideoFrame.from_ndarray(np.full((64, 96, 3), 20 * number, np.uint8), "rgb24")
            frame = frame.reformat(format=packed)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    result = play_video(open_stream(path, input_format="nut"), tmp_path / "out.mkv", [engine()])
    assert result.frames_in == 6 and any(packed in each and taken in each for each in result.warnings)
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert next(container.decode(video=0)).format.name == taken


class SlowSink(NullSink):
    """What an encoder is that takes three times as long as there is."""

    def write_frame(self, frame: VideoFrame) -> None:
        time.sleep(0.1)
        super().write_frame(frame)


def test_frames_are_dropped_and_counted_only_when_writing_cannot_keep_up(
    engine: Callable[..., Engine], sounding: Callable[..., Path]
) -> None:
    with Source(sounding("mkv")) as source:
        rungs, works = build_rungs(source.info, [engine()])
        ladder = Ladder(rungs, interval_seconds=1 / 30, latency_seconds=0.2)
        clock = StreamClock(latency_seconds=0.2, paced=True, follows=False)
        sink = SlowSink()
        player = Player(source=source, works=works, ladder=ladder, clock=clock, sink=sink)
        player.run()
    assert player.frames_in == 45 == player.frames_out + player.frames_dropped
    assert sink.frames_written == player.frames_out and 5 <= player.frames_out <= 30
    assert player.frames_missed > 0 and rungs[ladder.current].name == "pass"
    assert player.seconds < 4, "what waits is bounded: it ends about when the stream ends"


def test_a_window_shows_it(
    engine: Callable[..., Engine], sounding: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    shown = []

    def look(done: float, *_: Any, **__: Any) -> None:
        picture = pygame.display.get_surface()
        shown.append((picture.get_size(), pygame.surfarray.array3d(picture).std()))
        if done >= 15:
            pygame.event.post(pygame.event.Event(pygame.QUIT))

    result = play_video(sounding("mkv", frames=90), "window", [engine()], on_progress=look)
    add_up(result)
    assert result.ended == "window closed" and 15 <= result.frames_out < 80
    assert shown[-1][0] == (96, 64) and shown[-1][1] > 10
    assert any("sound" in each for each in result.warnings)
    assert result.latency_ms["p50"] >= 0.98 * result.deadline_ms, "each is shown at its time, not before"


def test_without_pygame_the_error_says_what_to_install(
    engine: Callable[..., Engine], sounding: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(MissingDependencyError, match=r"postfilter\[display\]"):
        play_video(sounding("mkv", frames=8), "window", [engine()])


def test_an_engine_that_reads_the_qp_is_told_it(
    steered: Callable[..., Path], write: Callable[..., Path], seen: Any, tmp_path: Path
) -> None:
    clip = write(tmp_path / "clip.mkv", options={"qp": "30"}, pts=list(range(6)))
    unknown = write(tmp_path / "unknown.mkv", codec="ffv1", pts=list(range(6)))
    relaxed: dict[str, Any] = {"codec": "ffv1", "guard": "off", "latency_ms": 5000}
    with load_engine(steered(tmp_path / "engine", default=None), threads=1) as engine:
        assert play_video(clip, tmp_path / "told.mkv", [engine], **relaxed).frames_filtered == 6
        wanted = list(filter_frames(clip, engine, guard="off"))
        for planes, frame in zip(seen(tmp_path / "told.mkv").planes, wanted, strict=True):
            np.testing.assert_array_equal(planes[0], frame.planes[0])
        with pytest.raises(InputError, match="its codec is ffv1"):
            play_video(unknown, tmp_path / "never.mkv", [engine])
        with pytest.raises(InputError, match="qp=True"):
            play_video(open_stream(clip), tmp_path / "never.mkv", [engine])
        assert not (tmp_path / "never.mkv").exists()
    with load_engine(steered(tmp_path / "blind", default=40), threads=1) as engine:
        play_video(unknown, tmp_path / "default.mkv", [engine], **relaxed)
    before, after = (seen(each).planes[0][0] for each in (unknown, tmp_path / "default.mkv"))
    np.testing.assert_array_equal(after, np.minimum(before.astype(int) + 40, 255))


def test_refusals_name_what_to_try(
    engine: Callable[..., Engine], sounding: Callable[..., Path], free_port: int, tmp_path: Path
) -> None:
    clip = sounding("mkv", frames=8)
    with pytest.raises(InputError, match="nothing came from udp"):
        open_stream(f"udp://127.0.0.1:{free_port}", timeout_seconds=0.2)
    with pytest.raises(InputError, match=r"cannot open tcp://.*refused"):
        open_stream(f"tcp://127.0.0.1:{free_port}")
    with pytest.raises(InputError, match="/dev/video99"):
        open_stream("/dev/video99", input_format="v4l2")
    with pytest.raises(OutputError, match=r"cannot send to tcp://.*refused"):
        play_video(clip, f"tcp://127.0.0.1:{free_port}", [engine()])
    with pytest.raises(OutputError, match="--output-format"):
        play_video(clip, "-", [engine()], output_format="nonesuch")
    with pytest.raises(InputError, match="latency"):
        play_video(clip, None, [engine()], latency_ms=0)
    with pytest.raises(InputError, match="no engine"):
        play_video(clip, None, [])
    with pytest.raises(OutputError, match="exists"):
        (tmp_path / "there.mkv").touch()
        play_video(clip, tmp_path / "there.mkv", [engine()])
