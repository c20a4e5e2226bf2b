from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from postfilter import models
from postfilter.errors import InputError, VerificationError
from postfilter.export.judged_frames import Pair, coded_pairs, drawn_pairs, fine_pairs
from postfilter.export.judgement import Judgement, check_judgement, mean_gain_db, side_by_side_ms
from postfilter.export.verify import reference_output

GOOD = Judgement(
    delta_psnr_fp32=0.2,
    delta_psnr=0.195,
    frames=8,
    source="drawn",
    ms=5.0,
    higher="fp16",
    higher_ms=9.0,
    width=720,
    height=480,
)


def test_an_engine_that_keeps_enough_and_is_faster_is_accepted():
    assert GOOD.objections() == []
    assert GOOD.as_json()["kept"] == pytest.approx(0.975)
    check_judgement(GOOD, precision="int8", name="fastarcnn")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"delta_psnr": 0.189}, r"keeps 94\.5% .*\+0\.189 of \+0\.200.* 95%"),
        ({"delta_psnr": -0.1}, "keeps -50"),
        ({"ms": 9.0}, r"no faster than fp16 .*9\.00 ms .*720x480 against 9\.00"),
        ({"delta_psnr_fp32": 0.01}, "fp32 itself gains .*--judge-with"),
        ({"fine_fp32": 0.01, "fine": -0.003}, r"at QP 22 .* 0\.0030 dB worse .*-0\.0030 against \+0\.0100 and"),
    ],
)
def test_a_refusal_has_the_numbers_and_what_to_try(change, reason):
    with pytest.raises(VerificationError, match=rf"int8 engine of fastarcnn is refused: .*{reason}.*--fp16.*--force"):
        check_judgement(dataclasses.replace(GOOD, **change), precision="int8", name="fastarcnn")


@pytest.mark.parametrize(
    ("fp32", "higher", "engine", "added"),
    [
        (0.05, 0.04, 0.01, 0),
        (-0.1, -0.09, -0.1015, 0.0015),
        (-0.1, -0.1, -0.05, 0),
        (0.05, 0.05, -0.01, 0.01),
        (-0.1, -0.11, -0.1115, 0.0015),
    ],
)
def test_harm_at_low_qp_is_what_is_lost_beyond_higher_precisions(fp32, higher, engine, added):
    judgement = dataclasses.replace(GOOD, fine_fp32=fp32, fine_higher=higher, fine=engine)
    assert judgement.added_loss_db == pytest.approx(added)
    assert judgement.faithful == (added <= 0.002)
    assert bool(judgement.objections()) == (added > 0.002)


def test_models_that_read_the_qp_are_judged_at_a_low_one_too(clip_pair):
    assert fine_pairs([], "luma", inputs=()) == fine_pairs([], "rgb", inputs=("qp",)) == []
    pairs = fine_pairs([clip_pair.clean], "luma", inputs=("qp",))
    assert {pair.inputs.get("qp") for pair in pairs} == {22, None}
    usual = coded_pairs([clip_pair.clean], "luma")
    errors = [np.mean([np.square(p.decoded.astype(int) - p.source).mean() for p in each]) for each in (pairs, usual)]
    assert errors[0] < errors[1] / 4


def test_all_objections_are_told_at_once():
    assert len(dataclasses.replace(GOOD, delta_psnr=0.1, ms=10.0).objections()) == 2


def test_the_gain_of_a_filter_is_how_much_nearer_it_comes_to_the_source():
    source = np.full((1, 1, 8, 8), 100, np.uint8)
    pairs = [Pair(source + np.uint8(4), source), Pair(source - np.uint8(2), source)]
    assert mean_gain_db(lambda frame: frame, pairs) == 0
    # Errors of 4 and 2 codes become 2 and 1: half of each is 6.02 dB.
    halved = {104: np.uint8(102), 98: np.uint8(99)}
    gain = mean_gain_db(lambda frame: np.full_like(frame, halved[int(frame[0, 0, 0, 0])]), pairs)
    assert gain == pytest.approx(20 * np.log10(2))


@pytest.mark.parametrize("layout", ["luma", "rgb"])
def test_drawn_pairs_come_again_and_are_what_the_shipped_models_are_for(layout):
    pairs = drawn_pairs(layout)
    again = drawn_pairs(layout)
    assert all(
        np.array_equal(one.decoded, two.decoded) and np.array_equal(one.source, two.source)
        for one, two in zip(pairs, again, strict=True)
    )
    assert {pair.decoded.shape for pair in pairs} == {(1, 1 if layout == "luma" else 3, 240, 416)}
    assert all(pair.decoded.dtype == np.uint8 and not np.array_equal(pair.decoded, pair.source) for pair in pairs)
    model = models.load("fastarcnn-luma" if layout == "luma" else "fastarcnn")
    assert mean_gain_db(lambda frame: reference_output(model, frame), pairs) > 0.1


@pytest.mark.parametrize("layout", ["luma", "rgb"])
def test_a_users_sources_are_coded_here(layout, clip_pair):
    pairs = coded_pairs([clip_pair.clean], layout)
    assert pairs
    for pair in pairs:
        assert pair.decoded.shape == pair.source.shape
        assert 0 < np.abs(pair.decoded.astype(int) - pair.source).mean() < 30


def test_a_source_that_does_not_exist_is_told(tmp_path):
    with pytest.raises(InputError, match=r"absent\.mkv"):
        coded_pairs([tmp_path / "absent.mkv"], "luma")


class _Engine:
    """What `side_by_side_ms` needs of an engine, with a time that is known."""

    bit_depth, channels, dtype = 8, 1, np.dtype(np.uint8)

    def __init__(self, seconds: float) -> None:
        self.seconds, self.calls = seconds, 0

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        self.calls += 1
        time.sleep(self.seconds)
        return samples


def test_engines_are_timed_in_turns():
    slow, fast = _Engine(0.02), _Engine(0.005)
    times = side_by_side_ms({"slow": slow, "fast": fast}, width=16, height=16)  # type: ignore[dict-item]
    assert slow.calls == fast.calls
    assert times["slow"] >= 20 > times["fast"] >= 5
