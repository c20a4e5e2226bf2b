"""filter-image as typed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.cli.filter_image import main


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`run(*arguments)` gives the exit status, standard output and standard error."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["filter-image", *map(str, arguments)])
        status = main()
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def picture(photograph: NDArray[np.uint8], tmp_path: Path) -> Path:
    path = tmp_path / "in.png"
    cv2.imwrite(str(path), photograph[:64, :96, ::-1])
    return path


def test_json_tells_the_quality(run: Any, luma_engine: Path, picture: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    status, out, _ = run(picture, target, "--engine", luma_engine, "--jpeg-quality", 10, "--json")
    told = json.loads(out)
    assert status == 0 and target.exists()
    assert (told["width"], told["height"], told["engine"]) == (96, 64, str(luma_engine))
    assert told["quality"]["jpeg_quality"] == 10 and told["quality"]["psnr_jpeg"] > 20


def test_a_person_reads_both_rows(run: Any, luma_engine: Path, picture: Path, tmp_path: Path) -> None:
    status, out, _ = run(picture, tmp_path / "out.png", "--engine", luma_engine, "--jpeg-quality", 10)
    assert status == 0 and "JPEG 10" in out and "filtered" in out and "PSNR-B" in out
    status, out, _ = run(picture, tmp_path / "plain.png", "--engine", luma_engine)
    assert status == 0 and "96x64" in out and "PSNR" not in out


def test_mistakes_are_one_line_and_status_one(run: Any, luma_engine: Path, picture: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ((tmp_path / "absent.png", tmp_path / "out.png"), "does not exist"),
        ((picture, picture), "the input itself"),
        ((picture, tmp_path / "out.png", "--jpeg-quality", 101), "1 to 100"),
    ):
        status, out, err = run(*arguments, "--engine", luma_engine)
        assert status == 1 and out == "" and message in err and err.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


def test_pieces_and_a_memory_limit_give_the_same_picture(
    run: Any, luma_engine: Path, picture: Path, tmp_path: Path
) -> None:
    whole, pieces = tmp_path / "whole.png", tmp_path / "pieces.png"
    assert run(picture, whole, "--engine", luma_engine, "--json")[0] == 0
    assert run(picture, pieces, "--engine", luma_engine, "--piece", "32x24", "--memory-limit", 200, "--json")[0] == 0
    assert np.array_equal(cv2.imread(str(whole)), cv2.imread(str(pieces)))
    status, _, err = run(picture, tmp_path / "none.png", "--engine", luma_engine, "--memory-limit", 3)
    assert status == 1 and "memory limit is 3 MB" in err
    for option, value in (("--piece", "large"), ("--memory-limit", "0")):
        with pytest.raises(SystemExit) as exit_:
            run(picture, tmp_path / "none.png", "--engine", luma_engine, option, value)
        assert exit_.value.code == 2


def test_the_quality_of_the_samples_stands_beside_that_of_the_file(
    run: Any, luma_engine: Path, photograph: NDArray[np.uint8], tmp_path: Path
) -> None:
    path = tmp_path / "in.jpg"
    cv2.imwrite(str(path), photograph[:256, :256, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 30])
    options = (path, tmp_path / "out.png", "--engine", luma_engine, "--report-quality", "--overwrite")
    status, out, _ = run(*options, "--json")
    told = json.loads(out)["strength"]
    assert status == 0
    assert (told["jpeg_quality"], told["file_jpeg_quality"], told["source"]) == (30, 30, "estimated")
    _, out, _ = run(*options)
    out = " ".join(out.split())  # lines are broken anywhere
    assert "JPEG quality 30, from the steps" in out and "quantization tables: JPEG quality 30" in out
