"""filter-video --report and --preview as typed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from postfilter.cli.filter_video import main


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`run(*arguments)` gives the exit status, standard output and standard error."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["filter-video", *map(str, arguments)])
        status = main()
        return status, *capsys.readouterr()

    return call


def test_a_report_tells_of_the_run_and_the_command(run: Any, luma_engine: Path, clip_pair: Any, tmp_path: Path) -> None:
    report = tmp_path / "my report.html"
    engine = ("--engine", luma_engine, "--reference", clip_pair.clean, "--json")
    status, out, _ = run(clip_pair.coded, tmp_path / "out.mp4", *engine, "--report", report)
    assert status == 0 and json.loads(out)["frames_out"] == 24
    page = report.read_text(encoding="utf-8")
    assert "largest change" in page and "ΔPSNR" in page and "filter-video " in page and "my report.html&#39;" in page


def test_an_existing_report_is_refused_before_work_starts(
    run: Any, luma_engine: Path, clip_pair: Any, tmp_path: Path
) -> None:
    report = tmp_path / "out.html"
    report.write_text("mine")
    target = tmp_path / "out.mp4"
    status, _, told = run(clip_pair.coded, target, "--engine", luma_engine, "--report", report)
    assert status == 1 and "--overwrite" in told and not target.exists() and report.read_text() == "mine"
    assert run(clip_pair.coded, target, "--engine", luma_engine, "--report", report, "--overwrite")[0] == 0
    assert report.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_preview_tells_its_address_on_stderr_and_shows_the_job(
    luma_engine: Path, clip_pair: Any, tmp_path: Path
) -> None:
    run = "import sys; from postfilter.cli.filter_video import main; sys.exit(main())"
    arguments = [clip_pair.coded, tmp_path / "out.mp4", "--engine", luma_engine, "--json", "--quiet", "--preview"]
    done = subprocess.Popen(
        [sys.executable, "-c", run, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert done.stdout is not None and done.stderr is not None
    url = done.stderr.readline().removeprefix("preview: ").strip()
    with urllib.request.urlopen(url + "state", timeout=30) as answer:
        told = [json.loads(line[6:]) for line in answer.read().decode().splitlines() if line.startswith("data: ")]
    assert told[0]["title"] == "coded.mp4" and told[-1]["ended"] == "finished" and told[-1]["done"] == 24
    assert told[-1]["subtitle"] == "smooth fp32 openvino" and set(told[-1]["queues"]) == {"filter", "encode"}
    assert json.loads(done.stdout.read())["frames_out"] == 24 and done.wait() == 0


def test_a_busy_port_is_told_before_work_starts(run: Any, luma_engine: Path, clip_pair: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, told = run(clip_pair.coded, tmp_path / "o.mp4", "--engine", luma_engine, "--preview", port)
    assert status == 1 and f"port {port}" in told and not (tmp_path / "o.mp4").exists()


def test_a_preview_before_the_names_is_explained(run: Any, clip_pair: Any, capsys: Any) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("--preview", clip_pair.coded, "out.mp4")
    assert "behind INPUT and OUTPUT" in capsys.readouterr().err


def test_real_time_is_previewed_with_its_rung(luma_engine: Path, clip_pair: Any) -> None:
    run = "import sys; from postfilter.cli.filter_video import main; sys.exit(main())"
    options = ["--realtime", "--sink", "null", "--engine", luma_engine, "--preview"]
    with subprocess.Popen(
        [sys.executable, "-c", run, str(clip_pair.coded), "-", *map(str, options)], stderr=subprocess.PIPE, text=True
    ) as done:
        assert done.stderr is not None
        url = done.stderr.readline().removeprefix("preview: ").strip()
        with urllib.request.urlopen(url + "pair?after=0", timeout=30) as answer:
            pair = json.loads(answer.headers["X-Pair"])
        with urllib.request.urlopen(url + "state", timeout=30) as answer:
            told = [json.loads(line[6:]) for line in answer.read().decode().splitlines() if line.startswith("data: ")]
    assert done.returncode == 0 and (pair["width"], pair["height"]) == (192, 128)
    assert told[-1]["done"] == 24 and isinstance(told[-1]["rung"], str) and told[-1]["missed"] >= 0
