"""The search for the fastest engine that passes: real engines, small and few."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from postfilter import models
from postfilter.errors import OutputError, UnknownNameError, VerificationError
from postfilter.export import quantization
from postfilter.export.build import build_engine
from postfilter.export.quantization import recorded_ranges
from postfilter.export.search import auto
from postfilter.export.search.auto import PICTURE, TABLE, Request, build_fastest, read_table, standing_choice
from postfilter.export.search.candidates import CHOSEN, AutoRow, Candidate, first_candidates, in_order, unavailable
from postfilter.export.search.choice import Choice
from postfilter.export.search.entry import Entry
from postfilter.export.search.plot import draw_choice
from postfilter.export.search.trials import Search
from postfilter.runtime import load_engine
from postfilter.runtime.cuda_probe import probe_cuda

REQUEST = Request(
    model="fastarcnn-luma", size=(96, 64), backends=("openvino", "torch", "tensorrt"), precisions=("fp16", "int8")
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[AutoRow]]:
    """A whole search: the engine's folder and the table."""
    output = tmp_path_factory.mktemp("auto") / "engine"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("postfilter.export.judgement._SECONDS", 0.01)
        result, rows = build_fastest(REQUEST, lambda candidate: output, seconds=0.02)
    assert result.engine == output
    return output, rows


def test_the_engine_is_the_chosen_one_with_its_table_beside_it(found: tuple[Path, list[AutoRow]]) -> None:
    folder, rows = found
    (chosen,) = [row for row in rows if row.verdict == CHOSEN]
    assert rows[0] == chosen
    with load_engine(folder) as engine:
        manifest = engine.manifest
        frame = np.arange(96 * 64, dtype=np.uint8).reshape(1, 1, 64, 96)
        assert engine(frame).shape == frame.shape
        assert engine.piece == chosen.piece
        assert engine.requests == chosen.requests
    assert (manifest.precision, manifest.backend) == (chosen.precision, chosen.backend)
    assert manifest.verification["psnr_db"] > 40
    assert {TABLE, PICTURE} <= set(manifest.files)
    assert read_table(folder) == [row.as_json() for row in rows]
    picture = cv2.imread(str(folder / PICTURE))
    assert picture is not None and picture.shape[1] > 600


def test_what_was_tried_is_told_with_figures_or_a_reason(found: tuple[Path, list[AutoRow]]) -> None:
    _, rows = found
    timed = [row for row in rows if row.fps is not None]
    assert {(row.backend, row.precision) for row in timed} == {("openvino", "fp16"), ("openvino", "int8")}
    assert all(row.ms_p50 and row.psnr_db and row.kept is not None for row in timed)
    passing = [row.fps for row in timed[1:] if row.verdict == "passes"]
    assert passing == sorted(passing, reverse=True)
    reasons = {(row.backend, row.precision): row.verdict for row in rows if row.fps is None}
    assert "PyTorch engines cannot be had in int8" in reasons["torch", "int8"]
    if not probe_cuda().devices:
        assert reasons["tensorrt", None].startswith("unavailable: no NVIDIA GPU")


def test_the_engine_is_found_again_unless_the_search_would_be_another(found: tuple[Path, list[AutoRow]]) -> None:
    folder, _ = found
    assert standing_choice(REQUEST, [folder.with_name("none"), folder]).current
    fewer = standing_choice(dataclasses.replace(REQUEST, backends=("openvino",)), [folder])
    assert fewer.exists and not fewer.current
    assert "options.auto.backends.torch" in [change.part for change in fewer.changes]


def test_int8_with_a_spoilt_range_is_refused_and_gets_a_layer_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.load("fastarcnn-luma")
    ranges = recorded_ranges(model.card, weights_sha256=model.weights_sha256)
    # Far too wide, so that next to nothing is left of what one layer reads.
    wrong = dataclasses.replace(ranges, steps=ranges.steps | {"base.5": ranges.steps["base.5"] * 40})
    monkeypatch.setattr(quantization, "recorded_ranges", lambda card, weights_sha256: wrong)
    monkeypatch.setattr("postfilter.export.judgement._SECONDS", 0.01)
    search = Search(model, tmp_path, seconds=0.02)
    candidate = Candidate(backend="openvino", device="CPU", precision="int8")

    refused = search.enter(candidate)
    assert isinstance(refused, Entry) and refused.kept < 0.95
    assert "at least 95% is required" in refused.row().verdict and refused.row().verdict.startswith("refused: ")

    fewer = search.mixed(candidate)
    assert fewer is not None and fewer.layers is not None
    assert "base.6" not in fewer.layers and len(fewer.layers) >= 2
    mixed = search.enter(fewer)
    assert isinstance(mixed, Entry) and not mixed.objection
    assert mixed.row().int8_layers == fewer.layers

    # Rewrites that are not usual are tried where they find their place, and their layers read what has a range.
    (other,) = search.other_passes(dataclasses.replace(candidate, precision="bf16"))
    assert other.passes == ("subpixel", "output-blocks", "space-to-depth")
    assert search.other_passes(candidate) == []


def test_rewrites_asked_for_by_name_are_those_of_the_engine_and_its_key(tmp_path: Path) -> None:
    names = ("subpixel", "space-to-depth")
    result = build_engine("fastarcnn-luma", size=(64, 48), rewrite=names, output=tmp_path / "engine")
    operators = [node.op_type for node in onnx.load(tmp_path / "engine" / "model.onnx").graph.node]
    assert "SpaceToDepth" in operators and "ConvTranspose" not in operators
    assert result.manifest.verification["psnr_db"] > 70
    assert result.manifest.key_parts["options"]["rewrite"] == list(names)


def entry(speed: float, *, gain: float = 0.2, objection: str = "", folder: str = "a", **ways: object) -> Entry:
    candidate = Candidate(backend="openvino", device="CPU", precision="fp16", **ways)  # type: ignore[arg-type]
    return Entry(
        candidate=candidate,
        folder=Path(folder),
        precision_run="bf16",
        psnr_db=60.0,
        delta_psnr=gain,
        kept=1.0,
        objection=objection,
        passes=(),
        ms=[1000 / speed],
        fps=[speed, speed / 2],
    )


def test_the_fastest_is_chosen_and_the_plainer_one_where_the_difference_is_noise() -> None:
    plain, piece = entry(100), entry(101.5, piece=(64, 64))
    assert Choice(entries=[piece, plain]).choose() is plain
    assert Choice(entries=[entry(103, piece=(64, 64)), plain]).choose() is not plain
    better = entry(99, gain=0.25)
    assert Choice(entries=[plain, better]).choose() is better
    assert Choice(entries=[plain, entry(500, objection="wrong")]).choose() is plain
    # Timed at another time, so not to be compared that closely.
    assert Choice(entries=[plain, entry(110)], final=[plain]).choose() is plain


def test_an_engine_refused_on_building_makes_room_for_the_next() -> None:
    choice = Choice(entries=[entry(120), entry(125, requests=2), entry(100, folder="b")])
    choice.absent = [unavailable("tensorrt", "cuda:0", None, "no GPU; get one")]
    choice.choose()
    choice.refuse_chosen("47 dB")
    assert choice.choose().speed == 100
    assert [row.verdict for row in choice.rows()] == [
        "chosen",
        "refused: 47 dB",
        "refused: 47 dB",
        "unavailable: no GPU",
    ]
    choice.refuse_chosen("46 dB")
    with pytest.raises(VerificationError, match=r"refused: 46 dB.*tensorrt unavailable: no GPU.*other weights"):
        choice.choose()


def test_nothing_to_try_is_told_at_once(tmp_path: Path) -> None:
    request = dataclasses.replace(REQUEST, backends=("torch",), precisions=("int8",))
    with pytest.raises(VerificationError, match=r"torch int8 unavailable: .*another --backend"):
        build_fastest(request, lambda candidate: tmp_path / "engine")


def test_what_cannot_be_had_is_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "postfilter.export.search.candidates.installed_version", lambda backend, load: "" if backend == "torch" else "1"
    )
    candidates, absent = first_candidates(["onnxruntime", "torch"], ["fp32", "bf16"])
    assert [(each.backend, each.precision) for each in candidates] == [("onnxruntime", "fp32")]
    told = {(row.backend, row.precision): row.verdict for row in absent}
    assert "no bfloat16 convolution" in told["onnxruntime", "bf16"]
    assert told["torch", None] == "unavailable: not installed"


def test_rows_stand_by_verdict_and_speed() -> None:
    def row(verdict: str, fps: float | None) -> AutoRow:
        return AutoRow(backend="openvino", device="CPU", precision="fp32", fps=fps, verdict=verdict)

    mixed = [row("unavailable: x", None), row("refused: y", 90), row("passes", 10), row("passes", 20), row(CHOSEN, 15)]
    assert [each.fps for each in in_order(mixed)] == [15, 20, 10, 90, None]


def test_the_picture_is_refused_where_it_cannot_be_written(tmp_path: Path) -> None:
    rows = [entry(30).row(chosen=True), entry(31, objection="wrong").row()]
    draw_choice(rows, tmp_path / "picture.png", title="t", fp32_db=0.2)
    assert (tmp_path / "picture.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(OutputError, match="cannot write the picture"):
        draw_choice(rows, tmp_path / "none" / "picture.png", title="t", fp32_db=0.0)


def test_an_unknown_backend_is_named_before_the_search(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="nosuch"):
        build_fastest(dataclasses.replace(REQUEST, backends=("nosuch",)), lambda candidate: tmp_path / "engine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="not replaced"):
        build_fastest(REQUEST, lambda candidate: tmp_path / "mine")


def test_the_table_is_plain_json(found: tuple[Path, list[AutoRow]]) -> None:
    folder, rows = found
    told = json.loads((folder / auto.TABLE).read_text())
    assert set(told[0]) == {each.name for each in dataclasses.fields(AutoRow)}
    assert len(told) == len(rows)
