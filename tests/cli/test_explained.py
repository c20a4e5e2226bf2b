"""`export-engine --explain` as a user types it."""

from __future__ import annotations

import json
import sys

import pytest

from postfilter.cli import export_engine


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path):
    """`run("fastarcnn-luma", "--explain")` -> exit status, stdout, stderr; in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["export-engine", *arguments])
        monkeypatch.setattr("postfilter.export.explain._SECONDS", 0.01)
        status = export_engine.main()
        return (status, *capsys.readouterr())

    return call


def test_the_table_comes_with_the_engine_also_where_that_is_current(run, tmp_path):
    command = ("fastarcnn-luma", "--size", "64x48", "--explain", "--output", "engine")
    status, out, _ = run(*command, "--json")
    assert status == 0
    result = json.loads(out)
    assert (tmp_path / "engine" / "engine.json").exists()
    rows = {row["pass"]: row for row in result["explain"]}
    assert rows["subpixel"]["applied"] and rows["subpixel"]["ms_after"] > 0
    assert rows["subpixel"]["what"] == result["steps"][:1]
    keys = {"pass", "applied", "what", "ms_before", "ms_after", "speedup", "max_abs_diff", "pays", "kept"}
    assert set(rows["space-to-depth"]) == keys

    status, out, _ = run(*command)
    assert status == 0
    for text in ("output-blocks", "times faster", "stride 2 to 16 channels", "does not pay"):
        assert text in out


def test_a_backend_without_a_graph_says_what_to_choose(run):
    status, _, error = run("fastarcnn-luma", "--backend", "torch", "--explain", "--size", "64x48")
    assert status == 1
    assert "openvino" in error
