from __future__ import annotations

import json
import math

import pytest

from postfilter import models
from postfilter.errors import WeightsError
from postfilter.quantize import NORMALISED, Ranges, convolutions, read_ranges, recorded_ranges, write_ranges

MODELS = ("arcnn", "fastarcnn", "arcnn-luma", "fastarcnn-luma")
RANGES = Ranges(
    model="m",
    weights_sha256="ab",
    steps={"one": 0.125, "two": 1 / 3},
    centres={"two": 0.5},
    source="clips",
    frames=7,
    fidelity_db=51.5,
)


def test_what_is_written_is_read_back(tmp_path):
    write_ranges(RANGES, tmp_path / "ranges.json")
    assert read_ranges(tmp_path / "ranges.json") == RANGES


def test_a_file_without_centres_means_none(tmp_path):
    content = {key: value for key, value in RANGES.as_json().items() if key not in ("centres", "fidelity_db")}
    (tmp_path / "ranges.json").write_text(json.dumps(content))
    assert read_ranges(tmp_path / "ranges.json").centres == {}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "[1]", "null", "{}", '{"model": "m"}', json.dumps({**RANGES.as_json(), "more": 1})]
)
def test_other_files_are_refused_by_name(tmp_path, text):
    (tmp_path / "ranges.json").write_text(text)
    with pytest.raises(WeightsError, match=r"ranges\.json holds no ranges.*--calibrate"):
        read_ranges(tmp_path / "ranges.json")


def test_an_absent_file_is_told(tmp_path):
    with pytest.raises(WeightsError, match=r"absent\.json"):
        read_ranges(tmp_path / "absent.json")


@pytest.mark.parametrize("changed", [{"steps": {"one": 0}}, {"steps": {"one": -1}}, {"steps": {"one": math.nan}}])
def test_steps_that_cannot_be_used_are_refused(tmp_path, changed):
    (tmp_path / "ranges.json").write_text(json.dumps({**RANGES.as_json(), **changed}))
    with pytest.raises(WeightsError, match=r"cannot be used.*--calibrate"):
        read_ranges(tmp_path / "ranges.json")


@pytest.mark.parametrize("changed", [{"centres": {"two": math.inf}}, {"centres": {"two": "half"}}, {"steps": [0.1]}])
def test_centres_and_kinds_that_cannot_be_used_are_refused(tmp_path, changed):
    (tmp_path / "ranges.json").write_text(json.dumps({**RANGES.as_json(), **changed}))
    with pytest.raises(WeightsError, match=r"ranges\.json.*--calibrate"):
        read_ranges(tmp_path / "ranges.json")


@pytest.mark.parametrize("name", MODELS)
def test_the_shipped_weights_have_ranges_of_every_value_that_is_read(shipped, name):
    graph, ranges = shipped(name)
    read = {node.input[0] for node in graph.graph.node if node.name in convolutions(graph)}
    assert set(ranges.steps) == read - {NORMALISED}
    assert set(ranges.centres) <= set(ranges.steps)
    assert ranges.model == name and ranges.frames > 0 and ranges.source
    assert ranges.fidelity_db > 50


def test_other_weights_get_no_recorded_ranges(shipped):
    card = models.card("fastarcnn-luma")
    with pytest.raises(WeightsError, match=r"fastarcnn-luma.*--calibrate"):
        recorded_ranges(card, weights_sha256="0" * 64)
