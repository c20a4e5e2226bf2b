"""filter-video --report and --preview as typed."""

from __future__ import annotations

import json
import sys
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
