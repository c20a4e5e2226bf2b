"""What is told of each pass is what it did, measured."""

from __future__ import annotations

import json

import pytest

from postfilter import models
from postfilter.errors import InputError
from postfilter.export.explain import ALL, explain_rewrites
from postfilter.export.passes.rewriting import PASSES


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_row_for_each_pass_and_one_for_all(weights_of, backend):
    model = models.load("fastarcnn-luma", weights=weights_of("fastarcnn-luma"))
    steps: list[str] = []
    rows = explain_rewrites(model, backend=backend, size=(64, 48), seconds=0.01, on_step=steps.append)
    assert [row.name for row in rows] == [*PASSES, ALL]
    by_name = {row.name: row for row in rows}
    idle = {"byte-samples", "byte-codes"}
    for row in rows:
        if row.name in idle:
            assert row.ms_before is None and "nothing for it" in row.kept, "the model shuffles no samples"
            continue
        assert row.ms_before is not None and row.ms_after is not None and row.speedup is not None
        assert row.ms_before > 0 and row.ms_after > 0
        assert row.speedup == pytest.approx(row.ms_before / row.ms_after, rel=0.05)
        assert row.max_abs_diff is not None and row.max_abs_diff <= 1
        assert row.kept
    assert [row.name for row in rows if row.applied] == ["subpixel", "output-blocks", ALL]
    assert all(len(by_name[name].what) == (name not in idle) for name in PASSES)
    assert "depth-to-space 4" in by_name["output-blocks"].what[0]
    # Applied passes add up, in one measurement: each begins where the one before it ended.
    assert by_name["output-blocks"].ms_before == by_name["subpixel"].ms_after
    assert (by_name[ALL].ms_before, by_name[ALL].ms_after) == (
        by_name["subpixel"].ms_before,
        by_name["output-blocks"].ms_after,
    )
    assert by_name["space-to-depth"].ms_before == by_name["output-blocks"].ms_after
    assert steps
    assert json.loads(json.dumps([row.as_json() for row in rows]))[0]["pass"] == "subpixel"


def test_what_a_model_has_no_place_for_is_not_measured(weights_of):
    model = models.load("arcnn", weights=weights_of("arcnn"))
    rows = {row.name: row for row in explain_rewrites(model, precision="fp16", size=(48, 32), seconds=0.01)}
    assert rows["subpixel"].speedup is None
    assert not rows["subpixel"].applied
    assert "nothing" in rows["subpixel"].kept
    # Code values of 16 bits do not fit fp16, and weights divided by the peak lose digits in it.
    assert rows["input-scale"].speedup is None
    assert "fp32" in rows["input-scale"].kept
    assert rows["output-blocks"].speedup is not None


def test_a_backend_that_does_not_run_the_graph_is_refused(weights_of):
    model = models.load("arcnn-luma", weights=weights_of("arcnn-luma"))
    with pytest.raises(InputError, match="openvino"):
        explain_rewrites(model, backend="torch")
