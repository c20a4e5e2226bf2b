from __future__ import annotations

import numpy as np
import pytest

from postfilter.quantize import calibrate, calibration_crops, lint, to_int8
from postfilter.quantize.equalisation import equalised
from postfilter.quantize.trial import Trial, observe

SOURCE = {"model": "m", "weights_sha256": "ab", "source": "a photograph", "frames": 1}


def _crops(frame: np.ndarray, *, count: int, side: int) -> np.ndarray:
    return calibration_crops([frame])[-count:, :, :side, :side]


@pytest.fixture(scope="module")
def calibrated(shipped, coded):
    """The fp32 graph of fastarcnn-luma, crops of one photograph, the ranges found on them, and the progress told."""
    graph, _ = shipped("fastarcnn-luma")
    crops, told = _crops(coded(1), count=6, side=96), []
    ranges = calibrate(graph, crops, **SOURCE, on_progress=lambda done, total: told.append((done, total)))
    return graph, crops, ranges, told


def _known(ranges) -> dict[str, tuple[float, float]]:
    return {value: (step, ranges.centres.get(value, 0.0)) for value, step in ranges.steps.items()}


def test_it_keeps_more_than_the_largest_values_do(calibrated, widest, run, coded):
    graph, crops, ranges, _ = calibrated
    trial = Trial(graph, crops, observe(graph, crops)[1])
    assert trial.error(_known(ranges)) < trial.error(_known(widest(graph, crops))) / 2
    # On another part of the picture, in the graph itself, too.
    unseen = coded(1)[..., 40:200, 20:180]
    wanted = run(graph, unseen, "network")
    errors = [
        np.mean((run(to_int8(graph, each), unseen, "network") - wanted) ** 2) for each in (ranges, widest(graph, crops))
    ]
    assert errors[0] < 0.7 * errors[1]


def test_it_tells_what_it_reached(calibrated):
    graph, crops, ranges, told = calibrated
    graph = equalised(graph, ranges.scales)
    error = Trial(graph, crops, observe(graph, crops)[1]).error(_known(ranges))
    assert ranges.fidelity_db == pytest.approx(-10 * np.log10(error), abs=0.01)
    assert (ranges.model, ranges.weights_sha256, ranges.source, ranges.frames) == ("m", "ab", "a photograph", 1)
    total = told[0][1]
    assert told == [(done, total) for done in range(1, total + 1)]


def test_only_what_is_read_without_padding_is_centred_and_zero_stays_exact(calibrated):
    graph, _, ranges, _ = calibrated
    assert ranges.centres.keys() <= {"base.1", "base.5"}  # the values that the 1x1 convolutions read
    assert ranges.centres
    for value, centre in ranges.centres.items():
        steps = centre / ranges.steps[value]
        assert steps == pytest.approx(round(steps), abs=1e-3)
        assert abs(steps) <= 127
    assert lint(to_int8(graph, ranges)) == []


def test_the_same_crops_give_the_same_ranges(small_graph, coded):
    graph, crops = small_graph(scale=0.3), _crops(coded(1), count=3, side=32)
    first, second = (calibrate(graph, crops, **SOURCE) for _ in range(2))
    assert first == second


def test_crops_are_spread_over_frames_and_always_the_same():
    frames = [np.full((1, 3, 200, 300), level, np.uint8) for level in range(50)]
    crops = calibration_crops(frames)
    assert crops.shape == (51, 3, 160, 160) and crops.dtype == np.uint8
    assert [int(crop[0, 0, 0]) for crop in crops[:50]] == list(range(50))
    few = calibration_crops(frames[:3])
    assert len(few) > 30 and {int(crop[0, 0, 0]) for crop in few[:-1]} == {0, 1, 2}
    textured = [np.random.default_rng(0).integers(0, 256, (1, 1, 300, 400), dtype=np.uint8)]
    np.testing.assert_array_equal(calibration_crops(textured), calibration_crops(textured))
    assert not np.array_equal(calibration_crops(textured), calibration_crops(textured, seed=1))


def test_black_and_white_are_among_the_crops():
    crops = calibration_crops([np.full((1, 1, 170, 170), 100, np.uint8)])
    assert set(np.unique(crops[-1])) == {0, 16, 235, 255}


@pytest.mark.parametrize("size", [(24, 500), (1, 1), (159, 160)])
def test_frames_smaller_than_a_crop_are_mirrored(size):
    frame = np.random.default_rng(5).integers(0, 256, (1, 1, *size), dtype=np.uint8)
    crops = calibration_crops([frame, np.zeros((1, 1, 200, 200), np.uint8)], multiple=3)
    assert crops.shape[2:] == (159, 159)
    assert set(np.unique(crops[0])) <= set(np.unique(frame))
    if size[0] == 24:
        np.testing.assert_array_equal(crops[0, 0, :24], crops[0, 0, 47:23:-1])


def test_a_layer_that_is_never_used_still_gets_a_range(small_graph):
    # Flat black through weights of zero: every value is 0.
    graph = small_graph(scale=0.0)
    ranges = calibrate(graph, np.zeros((1, 1, 16, 16), np.uint8), **SOURCE)
    assert all(np.isfinite(step) and step > 0 for step in ranges.steps.values())
    assert lint(to_int8(graph, ranges)) == []
