"""benchmarks/quality.py on a tiny engine, clip and picture: what it writes, what it keeps, what its picture shows."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from postfilter.errors import InputError
from postfilter.runtime import load_engine

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
PARTS = ("quality_cards", "quality_page", "quality_parts", "quality_picture", "quality")


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch, luma_engine: Path) -> dict[str, ModuleType]:
    """The benchmark's modules, whose engines are all the tiny one; there is none in int8."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in PARTS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    modules = {name: importlib.import_module(name) for name in PARTS}

    def engine(name: str, precision: str) -> Any:
        if precision == "int8":
            raise InputError("not in int8")
        return load_engine(luma_engine)

    monkeypatch.setattr(modules["quality_parts"], "_engine", engine)
    monkeypatch.setattr(modules["quality_parts"], "_is_built", lambda *_: True)
    yield modules
    for name in PARTS:
        sys.modules.pop(name, None)


@pytest.fixture
def run(parts, clip_pair, photograph, tmp_path, monkeypatch):
    """Run the script on a clip and a picture; return the page."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "one.png"), np.ascontiguousarray(photograph[60:140, 150:261, ::-1]))

    def main(*options: str) -> str:
        arguments = ["--live1", pictures, "--clips", clip_pair.clean, "--models", "fastarcnn", "fastarcnn-luma"]
        arguments += ["--codec", "h264", "--qp", 22, 27, 32, 37, "--frames", 3, "--precisions", "fp32", "int8"]
        arguments += ["--size", "64x48", "--seconds", 0.05, "--rounds", 1, "--work", tmp_path / "work"]
        words = ["quality.py", *map(str, arguments), "--output", str(tmp_path / "docs"), *options]
        monkeypatch.setattr(sys, "argv", words)
        parts["quality"].main()
        return (tmp_path / "docs/quality.md").read_text()

    return main


def test_the_page_holds_what_was_measured_and_the_command(run, tmp_path):
    page = run()
    (held,) = (json.loads(file.read_text())["value"] for file in (tmp_path / "work/images").iterdir())
    shown = {row["quality"]: f"{row['psnr']:.2f} / {row['ssim']:.3f} / {row['psnr_b']:.2f}" for row in held}
    assert all(text in page for text in shown.values()) and "26.43 / - / 26.32" in page
    rows = [json.loads(file.read_text()) for file in (tmp_path / "work/clips").iterdir()]
    gains = {row["key"]["qp"]: row["value"]["delta_psnr"] for row in rows if row["key"]["codec"] == "h264"}
    assert sorted(gains) == [22, 27, 32, 37]
    line = next(line for line in page.splitlines() if line.startswith("| `smooth` | ") and "clean, QP" in line)
    assert [float(cell) for cell in re.findall(r"[+-]\d+\.\d{3} (?=\|)", line)][:4] == [
        pytest.approx(gains[qp], abs=6e-4) for qp in sorted(gains)
    ]
    assert "flicker" in page and "![ΔPSNR against frames a second](pareto.svg)" in page
    assert "quality.py --live1 pictures --clips" in page and str(tmp_path) not in page
    assert (tmp_path / "docs/pareto.svg").read_text().startswith("<?xml")


def test_what_was_measured_is_kept_and_parts_can_be_run_alone(run, parts, tmp_path, monkeypatch):
    page = run("--only", "video")
    assert "## Clips" in page and "## Pictures" not in page and "## Gain" not in page
    assert not (tmp_path / "work/speed").exists()
    page = run("--only", "images", "pareto")
    assert all(heading in page for heading in ("## Clips", "## Pictures", "## Gain"))
    for name in ("evaluate_images", "evaluate_methods", "measure_speed"):
        monkeypatch.setattr(parts["quality_parts"], name, lambda *_, **__: pytest.fail("measured again"))
    again = run()
    assert [line for line in again.splitlines() if "Written" not in line] == [
        line for line in page.splitlines() if "Written" not in line
    ]


def test_a_part_that_is_not_measured_builds_nothing(run, parts, monkeypatch, capsys):
    monkeypatch.setattr(parts["quality_parts"], "_is_built", lambda *_: False)
    page = run("--only", "video")
    assert "## Clips" in page and "## Gain" not in page
    told = capsys.readouterr().err
    assert "fastarcnn-luma in fp32 is left out: no engine" in told and "speed of" not in told


def test_cards_take_the_figures(run, parts, tmp_path, monkeypatch):
    card = tmp_path / "fastarcnn-luma.json"
    card.write_text('{"data": "kept"}')
    known = type("Card", (), {"weights_path": card.with_suffix(".safetensors")})
    run("--only", "video")
    assert parts["quality_cards"].write_card("fastarcnn-luma", {"images": [], "video": None}) is None
    monkeypatch.setattr(parts["quality_cards"].models, "card", lambda _: known)
    rows = [json.loads(file.read_text())["value"] for file in sorted((tmp_path / "work/clips").iterdir())]
    video = parts["quality_parts"].summary([row | {"method": "fastarcnn-luma"} for row in rows])
    written = parts["quality_cards"].write_card("fastarcnn-luma", {"images": [], "video": video})
    assert written == json.loads(card.read_text()) and written["data"] == "kept"
    assert {row["qp"]: row["delta_psnr"] for row in written["results"]["rows"]} == {
        row["qp"]: pytest.approx(row["delta_psnr"], abs=6e-5) for row in rows
    }
    assert all(list(row["by_clip"]) == ["clean"] for row in written["results"]["rows"])


def test_the_front_is_what_nothing_beats_in_both(parts):
    def point(fps: float, gain: float) -> dict[str, float]:
        return {"fps": fps, "delta_psnr": gain}

    rows = [point(10, 0.2), point(30, 0.1), point(20, 0.1), point(5, 0.2), point(2, 0.3), point(30, 0.05)]
    assert parts["quality_picture"].pareto_front(rows) == [point(30, 0.1), point(10, 0.2), point(2, 0.3)]


def test_every_published_row_names_its_source():
    published = json.loads((FOLDER / "published_quality.json").read_text())
    rows = published["images"] + published["video"]
    assert rows and all(row["source"] in published["sources"] for row in rows)
