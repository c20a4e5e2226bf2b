"""filter-video as typed: results, exit statuses, and an interrupt."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from postfilter.cli.filter_video import main

RUN = "import sys; from postfilter.cli.filter_video import main; sys.exit(main())"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`run(*arguments)` gives the exit status, standard output and standard error."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["filter-video", *map(str, arguments)])
        status = main()
        return status, *capsys.readouterr()

    return call


def test_json_is_all_that_comes_on_stdout(run: Any, luma_engine: Path, clip_pair: Any, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    status, out, _ = run(clip_pair.coded, target, "--engine", luma_engine, "--reference", clip_pair.clean, "--json")
    told = json.loads(out)
    assert status == 0 and target.exists()
    assert (told["frames_in"], told["frames_out"], told["output"]) == (24, 24, str(target))
    assert told["engine"] == str(luma_engine)
    assert set(told["quality"]) == {"psnr_decoded", "psnr_filtered", "delta_psnr"}


def test_the_table_tells_frames_and_speed(run: Any, luma_engine: Path, clip_pair: Any, tmp_path: Path) -> None:
    status, out, _ = run(clip_pair.coded, tmp_path / "out.mp4", "--engine", luma_engine)
    assert status == 0
    assert "24 of 192x128" in out and "fps" in out and "real time" in out


def test_ten_bit_clips_open_the_engine_for_ten_bits(run: Any, luma_engine: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        picture = np.tile(np.arange(64, dtype=np.uint8), (48, 1))[..., None].repeat(3, axis=2)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p10le")))
        container.mux(stream.encode(None))
    status, _, _ = run(source, tmp_path / "out.mkv", "--engine", luma_engine)
    assert status == 0
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert next(container.decode(video=0)).format.name == "yuv420p10le"


def test_a_null_sink_needs_no_output(run: Any, luma_engine: Path, clip_pair: Any) -> None:
    status, out, _ = run(clip_pair.coded, "--sink", "null", "--engine", luma_engine, "--json")
    assert status == 0 and json.loads(out)["output"] is None


def test_mistakes_are_one_line_and_status_one(run: Any, luma_engine: Path, clip_pair: Any, tmp_path: Path) -> None:
    junk, target = tmp_path / "junk.mp4", tmp_path / "out.mp4"
    junk.write_bytes(os.urandom(5000))
    existing = tmp_path / "existing.mp4"
    existing.write_bytes(b"")
    for arguments, message in (
        ((junk, target), "junk.mp4"),
        ((tmp_path / "absent.mp4", target), "does not exist"),
        ((clip_pair.coded,), "no output is named"),
        ((clip_pair.coded, existing), "--overwrite"),
        ((clip_pair.coded, target, "--codec", "xvid"), "libx264"),
        ((clip_pair.coded, target, "--fp16"), "--fp16"),
    ):
        status, out, err = run(*arguments, "--engine", luma_engine)
        assert status == 1 and out == ""
        assert err.startswith("filter-video: error: ") and message in err and err.count("\n") == 1
        assert not target.exists()
    status, _, err = run(clip_pair.coded, target, "--engine", tmp_path)
    assert (status == 1 and "export-engine" in err) or "engine.json" in err


def test_names_that_the_system_refuses_are_no_bug_of_ours(
    run: Any, luma_engine: Path, clip_pair: Any, tmp_path: Path
) -> None:
    too_long = tmp_path / ("x" * 300 + ".mp4")
    for arguments in ((too_long, tmp_path / "out.mp4"), (clip_pair.coded, too_long)):
        status, out, err = run(*arguments, "--engine", luma_engine)
        assert status == 1 and out == ""
        assert err.startswith("filter-video: error: cannot use ") and err.count("\n") == 1


def test_a_name_without_suffix_is_told_as_typed(run: Any, luma_engine: Path, clip_pair: Any, tmp_path: Path) -> None:
    status, _, err = run(clip_pair.coded, tmp_path / "out", "--engine", luma_engine)
    assert status == 1 and "suffix ''" in err and "partial" not in err


def _as_from_a_terminal() -> None:
    """A job in the background of a script ignores Ctrl-C, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ending_it_leaves_a_part_or_nothing(luma_engine: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.mkv", tmp_path / "out.mkv"
    with av.open(str(source), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        frame = av.VideoFrame(640, 480, "yuv420p")
        for number in range(6000):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    command = [sys.executable, "-c", RUN, str(source), str(target), "--engine", str(luma_engine), "--preset", "slow"]
    # The second Ctrl-C of an impatient user comes while the frames under way are finished.
    for numbers, status, told, files in (
        ((signal.SIGINT,), 130, "--resume", [["in.mkv", "out.partial.mkv"]]),
        ((signal.SIGINT, signal.SIGINT), 130, "interrupted", [["in.mkv"], ["in.mkv", "out.partial.mkv"]]),
        ((signal.SIGTERM,), 143, "", [["in.mkv"]]),
    ):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=_as_from_a_terminal)
        deadline = time.monotonic() + 30
        growing = tmp_path / ".out.mkv.postfilter" / "000000.segment"
        while not growing.exists():
            assert process.poll() is None and time.monotonic() < deadline, "it never began to write"
            time.sleep(0.02)
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.03)
        _, err = process.communicate(timeout=30)
        assert process.returncode == status and told in err and "Traceback" not in err
        # What was done before the end of the first segment is not worth keeping.
        assert sorted(each.name for each in tmp_path.iterdir() if not each.name.startswith(".")) in files
        for each in tmp_path.iterdir():
            if each.name != "in.mkv":
                shutil.rmtree(each) if each.is_dir() else each.unlink()


def test_help_is_quick_and_needs_no_backend() -> None:
    code = (
        "import sys; sys.argv = ['filter-video', '--help']\n"
        "from postfilter.cli.filter_video import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'openvino', 'onnxruntime', 'av', 'cv2') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--reference" in done.stdout and done.stderr.strip() == "[]"


def test_importing_the_room_loads_no_backend() -> None:
    code = (
        "import sys, postfilter.runtime, postfilter.video; from postfilter.video import filter_video\n"
        "print([m for m in ('torch', 'openvino', 'tensorrt', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
