"""filter-video --realtime as typed: pipes, figures, an interrupt, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from postfilter.cli.filter_video import main

RUN = "import sys; from postfilter.cli.filter_video import main; sys.exit(main())"


@pytest.fixture(scope="session")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of 96x64 at 30 a second, in MPEG-TS."""
    path = tmp_path_factory.mktemp("stream") / "in.ts"
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "g": "5"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for number in range(30):
            picture = np.tile(np.arange(96, dtype=np.uint8) + number, (64, 1))[..., None].repeat(3, axis=2)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`run(*arguments)` gives the exit status, standard output and standard error."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["filter-video", *map(str, arguments)])
        status = main()
        return status, *capsys.readouterr()

    return call


def _as_from_a_terminal() -> None:
    """A job in the background of a script ignores Ctrl-C, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*arguments: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, arguments), "--realtime"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_as_from_a_terminal,
    )  # fmt: skip


def test_a_pipe_carries_video_alone(luma_engine: Path, stream: Path, tmp_path: Path) -> None:
    process = start("-", "-", "--engine", luma_engine, "--json")
    out, err = process.communicate(stream.read_bytes(), timeout=60)
    assert process.returncode == 0, err
    (tmp_path / "out.ts").write_bytes(out)
    with av.open(str(tmp_path / "out.ts")) as container:
        assert container.format.name == "mpegts"
        frames = sum(1 for _ in container.decode(video=0))
    told = json.loads(err.splitlines()[-1])
    assert (told["input"], told["output"], told["frames_in"]) == ("-", "-", 30)
    assert frames == told["frames_out"]


def test_ctrl_c_ends_a_live_recording_which_is_kept(luma_engine: Path, stream: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    process = start("-", target, "--engine", luma_engine, "--json")
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(stream.read_bytes())
    process.stdin.flush()  # and then nothing more: the sender is silent, and does not end
    wait_for(lambda: any("partial" in each.name for each in tmp_path.iterdir()), process)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    told = json.loads(process.stdout.read())
    assert told["realtime"]["ended"] == "interrupt" and told["frames_out"] > 0
    with av.open(str(target)) as container:
        assert sum(1 for _ in container.decode(video=0)) == told["frames_out"]
    assert [each.name for each in tmp_path.iterdir()] == ["out.mkv"]


def test_ctrl_c_while_a_file_plays_leaves_nothing(luma_engine: Path, stream: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.ts"
    with av.open(str(stream)) as source, av.open(str(long), "w") as target:
        track = target.add_stream_from_template(source.streams.video[0])
        packets = [each for each in source.demux() if each.dts is not None]
        for number in range(60):
            for packet in packets:
                packet.stream = track
                packet.pts, packet.dts = (number * 90000 + packet.pts % 90000 for _ in range(2))
                target.mux(packet)
    process = start(long, tmp_path / "out.mkv", "--engine", luma_engine)
    wait_for(lambda: any("partial" in each.name for each in tmp_path.iterdir()), process)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert process.stderr is not None and b"Traceback" not in process.stderr.read()
    assert [each.name for each in tmp_path.iterdir()] == ["long.ts"]


def test_a_receiver_that_goes_away_is_one_line(luma_engine: Path, stream: Path) -> None:
    process = start(stream, "-", "--engine", luma_engine)
    assert process.stdout is not None and process.stderr is not None
    os.read(process.stdout.fileno(), 100)
    process.stdout.close()
    assert process.wait(20) == 1
    err = process.stderr.read().decode()
    assert err.splitlines()[-1].startswith("filter-video: error: cannot send to ") and "Traceback" not in err


def wait_for(reached: Any, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while not reached():
        assert process.poll() is None and time.monotonic() < deadline, "it never began to write"
        time.sleep(0.02)


def test_figures_for_a_person(run: Any, luma_engine: Path, stream: Path) -> None:
    status, out, _ = run(stream, "--realtime", "--sink", "null", "--engine", luma_engine, "--latency", 150)
    assert status == 0
    for text in ("30 of 96x64", "150 ms, missed by", "p99.9", "down", "half", "pass"):
        assert text in out


def test_fallback_engines_are_rungs(run: Any, luma_engine: Path, stream: Path) -> None:
    status, out, _ = run(
        stream, "--realtime", "--sink", "null", "--engine", luma_engine, "--fallback-engine", luma_engine, "--json"
    )
    assert status == 0
    names = [each["name"] for each in json.loads(out)["realtime"]["rungs"]]
    assert len(names) == 4 and names[2:] == ["half", "pass"]


def test_mistakes_are_one_line_and_status_one(run: Any, luma_engine: Path, stream: Path, tmp_path: Path) -> None:
    real, target = "--realtime", tmp_path / "out.mkv"
    for arguments, message in (
        (("udp://127.0.0.1:1", target), "--realtime"),
        ((stream, target, "--latency", 100), "--latency needs --realtime"),
        ((stream, real), "no output is named"),
        ((stream, target, real, "--reference", stream), "--reference"),
        ((stream, target, real, "--skip-below-qp", 20), "--skip-below-qp"),
        ((stream, target, real, "--resume"), "--resume"),
        ((stream, target, real, "--hwaccel", "cuda"), "--hwaccel"),
        ((stream, target, real, "--input-timeout", 0), "more than 0 seconds"),
        ((stream, target, real, "--preset", "warp"), "ultrafast"),
        ((stream, target, real, "--latency", -1), "latency"),
        ((tmp_path / "absent.ts", target, real), "does not exist"),
        (("tcp://127.0.0.1:1", target, real), "tcp://127.0.0.1:1"),
        ((stream, "tcp://127.0.0.1:1", real), "tcp://127.0.0.1:1"),
    ):
        status, out, err = run(*arguments, "--engine", luma_engine)
        assert status == 1 and out == "", arguments
        assert err.startswith("filter-video: error: ") and message in err and err.count("\n") == 1, err
        assert not target.exists()
