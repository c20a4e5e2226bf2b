"""The stream's clock, its timestamps and the percentiles, with made-up times."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from postfilter.video.reading.timeline import Timeline
from postfilter.video.realtime.clock import StreamClock
from postfilter.video.realtime.histogram import Histogram

LATENCY = 0.2


def test_a_file_is_never_waited_for() -> None:
    clock = StreamClock(latency_seconds=LATENCY, paced=True, follows=False)
    assert clock.stamp(10.0, 100.0) == 100.0
    assert clock.stamp(10.1, 100.0) == pytest.approx(100.1), "one that is early has its moment still to come"
    assert clock.stamp(10.2, 100.9) == pytest.approx(100.2), "one that is late has missed it"
    assert clock.moves == 0


def test_a_file_goes_on_after_the_machine_slept() -> None:
    clock = StreamClock(latency_seconds=LATENCY, paced=True, follows=False)
    clock.stamp(0.0, 100.0)
    assert clock.stamp(0.04, 160.0) == pytest.approx(160.0)
    assert clock.stamp(0.08, 160.0) == pytest.approx(160.04) and clock.moves == 1


def test_a_burst_moves_the_clock_of_a_live_stream_forward() -> None:
    clock = StreamClock(latency_seconds=LATENCY, paced=False, follows=True)
    clock.stamp(0.0, 100.0)
    assert clock.stamp(0.5, 100.01) == pytest.approx(100.01)
    assert clock.stamp(0.6, 100.15) == pytest.approx(100.11), "what is later than the burst foretold has waited"
    assert clock.moves == 0


def test_a_pipe_is_held_back_to_its_clock() -> None:
    clock = StreamClock(latency_seconds=LATENCY, paced=True, follows=True)
    clock.stamp(0.0, 100.0)
    assert clock.stamp(0.5, 100.01) == pytest.approx(100.5)


def test_a_stall_of_the_source_sets_the_clock_anew() -> None:
    clock = StreamClock(latency_seconds=LATENCY, paced=False, follows=True)
    clock.stamp(0.0, 100.0)
    assert clock.stamp(0.04, 103.0) == pytest.approx(103.0) and clock.moves == 1
    # What was held up comes at once: the old clock was right.
    assert clock.stamp(3.0, 103.01) == pytest.approx(103.01)
    assert clock.stamp(3.04, 103.05) == pytest.approx(103.05)


@pytest.mark.parametrize("parts_per_million", [500, -500])
def test_drift_is_followed(parts_per_million: int) -> None:
    """Over an hour half a thousandth makes 1.8 s, nine times the latency."""
    clock = StreamClock(latency_seconds=LATENCY, paced=False, follows=True)
    rng = np.random.default_rng(1)
    worst = 0.0
    for number in range(3600 * 5):
        pts = number / 5
        now = 1000 + pts * (1 + parts_per_million / 1e6) + float(rng.uniform(0, 0.02))
        worst = max(worst, now - clock.stamp(pts, now))
    assert worst < 0.05 and clock.moves == 0


def test_timestamps_start_at_zero() -> None:
    timeline = Timeline(Fraction(1700000000))
    assert timeline.follow(0, Fraction(1700000000), Fraction(1, 25)) == -1700000000
    assert timeline.follow(1, Fraction(1700000000) + Fraction(1, 100), Fraction(1, 50)) == -1700000000
    assert timeline.jumps == 0


def test_a_new_beginning_runs_on_and_keeps_sound_with_picture() -> None:
    timeline, step = Timeline(Fraction(0)), Fraction(1, 25)
    for number in range(50):
        timeline.follow(0, number * step, step)
        timeline.follow(1, number * step, step)
    # Both begin anew at 0, the sound 10 ms before the picture and first.
    sound = timeline.follow(1, Fraction(-1, 100), step)
    picture = timeline.follow(0, Fraction(0), step)
    assert sound == picture and timeline.jumps == 1
    assert Fraction(-1, 100) + sound == 50 * step
    assert timeline.shift == picture


def test_gaps_are_no_new_beginning() -> None:
    timeline, step = Timeline(Fraction(0)), Fraction(1, 25)
    timeline.follow(0, Fraction(0), step)
    assert timeline.follow(0, Fraction(8), step) == 0
    assert timeline.follow(0, Fraction(100), step) < -80 and timeline.jumps == 1


def test_percentiles_are_those_of_numpy_to_one_per_cent() -> None:
    values = np.random.default_rng(0).lognormal(-4, 1, 5003)
    histogram = Histogram()
    for value in values:
        histogram.add(float(value))
    for percent in (50, 95, 99, 99.9):
        wanted = float(np.percentile(values, percent, method="inverted_cdf"))
        assert histogram.percentile(percent) == pytest.approx(wanted, rel=0.011)
    assert Histogram().percentile(50) == 0.0
    histogram.add(-1.0)
    histogram.add(1e9)
    assert histogram.count == 5005
