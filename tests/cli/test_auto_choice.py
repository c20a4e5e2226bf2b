"""`export-engine --auto` as a user types it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from postfilter.cli import export_engine

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`run("fastarcnn-luma", "--auto")` -> exit status, stdout, stderr; in an empty folder, timed for a moment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("postfilter.export.search.auto._SECONDS", 0.02)
    monkeypatch.setattr("postfilter.export.judgement._SECONDS", 0.01)
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["export-engine", *arguments])
        try:
            status = export_engine.main()
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        return (status, *capsys.readouterr())

    return call


def test_the_fastest_is_built_told_and_found_again(run: Run, tmp_path: Path) -> None:
    command = ("fastarcnn-luma", "--auto", "--backend", "onnxruntime", "--size", "96x64")
    status, out, err = run(*command, "--json")
    assert status == 0, err
    result = json.loads(out)
    chosen = result["auto"][0]
    assert chosen["verdict"] == "chosen" and chosen["backend"] == "onnxruntime"
    assert result["engine"] == f"engines/fastarcnn-luma-96x64-{chosen['precision']}-onnxruntime"
    assert result["manifest"] == json.loads((tmp_path / result["engine"] / "engine.json").read_text())
    assert {row["precision"] for row in result["auto"]} == {"fp32", "fp16", "bf16", "int8"}
    assert result["build_seconds"] > 0 and not result["reused"]
    assert "1 of 3: onnxruntime fp32" in err

    status, out, err = run(*command)
    assert status == 0 and "the one found before" in err
    told = out.splitlines()
    assert told[0].startswith("tried here")
    assert any(line.startswith(f"onnxruntime {chosen['precision']}") and line.endswith("chosen") for line in told)
    assert "onnxruntime bf16: unavailable, bf16 does not run in ONNX Runtime on a CPU" in out
    assert f"drawn in {result['engine']}/auto.png" in out

    status, out, _ = run(*command, "--why-rebuild", "--json")
    assert status == 0 and json.loads(out)["current"]
    # Another search, of which nothing is there.
    status, out, _ = run(*command[:-1], "64x48", "--why-rebuild", "--json")
    assert status == 0 and not json.loads(out)["exists"]


def test_a_precision_beside_it_is_wrong_usage(run: Run) -> None:
    status, _, err = run("fastarcnn-luma", "--auto", "--int8")
    assert status == 2 and "not allowed with argument" in err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--explain", "--no-rewrite"], "--auto does not go with --no-rewrite, --explain"),
        (["--int8-layers", "base.0"], "--int8-layers"),
        (["--device", "GPU"], "name it with --backend"),
        (["--backend", "openvino", "--verify-with", "x.png", "--why-rebuild"], "--verify-with always builds"),
    ],
)
def test_what_leaves_nothing_to_choose_is_refused(run: Run, more: list[str], told: str) -> None:
    status, out, err = run("fastarcnn-luma", "--auto", *more)
    assert (status, out) == (1, "")
    assert told in err and "Traceback" not in err


def test_an_unknown_model_lists_the_known_ones(run: Run) -> None:
    status, _, err = run("nosuch", "--auto")
    assert status == 1 and "fastarcnn-luma" in err
