"""What the report keeps of a clip: bounded, cheap, the right frames."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from postfilter.video.report import ReportObserver
from postfilter.video.report.chosen import Spread
from postfilter.video.report.curve import Curve
from postfilter.video.report.plot import draw_curves


def test_a_short_curve_is_kept_as_it_is() -> None:
    curve = Curve()
    for frame, value in enumerate([3.0, 1.0, 2.0]):
        curve.add(frame, value)
    points = curve.points()
    assert points.frames_per_point == 1 and points.frames.tolist() == [0, 1, 2]
    assert points.low.tolist() == points.mean.tolist() == points.high.tolist() == [3, 1, 2]


@pytest.mark.parametrize("count", [1024, 1025, 20_000])
def test_a_long_curve_is_bounded_and_loses_no_extreme(count: int) -> None:
    values = np.random.default_rng(1).normal(10, 1, count)
    values[count // 3], values[count // 2] = 99, -99
    curve = Curve()
    for frame, value in enumerate(values):
        curve.add(frame, float(value))
    points = curve.points()
    assert len(points.frames) <= 1024
    assert points.high.max() == 99 and points.low.min() == -99
    starts = np.append(points.frames, count).astype(int)
    parts = [values[a:b] for a, b in itertools.pairwise(starts)]
    assert points.mean == pytest.approx([part.mean() for part in parts])
    assert points.low.tolist() == [part.min() for part in parts]


def test_frames_without_a_value_leave_a_gap() -> None:
    curve = Curve()
    curve.add(2, 5.0)
    curve.add(4000, 6.0)
    assert curve.points().mean.tolist() == [5, 6]


def test_the_best_frames_are_chosen_and_none_beside_another() -> None:
    scores = np.zeros(3000)
    scores[100:110] = 50  # a burst: one of it is enough
    scores[1500], scores[2900] = 40, 60
    spread = Spread(8)
    for index, score in enumerate(scores + 0.001):
        spread.offer(index, float(score), lambda index=index: Kept(index))
    chosen = [each.record.index for each in spread.chosen(3)]
    assert chosen[0] == 2900 and chosen[2] == 1500 and chosen[1] in range(100, 110)


class Kept:
    """Stands for a kept frame, of which choosing reads the index alone."""

    def __init__(self, index: int) -> None:
        self.record = self
        self.index = index


def test_frames_kept_are_bounded_whatever_the_length() -> None:
    spread = Spread(8)
    for index in range(5000):
        spread.offer(index, 1.0 + index, lambda index=index: Kept(index))
    assert len(spread._best) <= 8


def test_slow_rises_do_not_copy_every_frame() -> None:
    copies = []
    spread = Spread(8)
    for index in range(2000):
        spread.offer(index, 10 + index / 1000, lambda index=index: (copies.append(index), Kept(index))[1])
    assert len(copies) < 200


def test_improvements_come_first_and_a_frame_is_shown_once(clip: Callable[..., Any]) -> None:
    changes = [1.0] * 100
    changes[20], changes[70] = 30, 20
    observer = ReportObserver()
    for each in clip(changes, quality=True):
        observer.see(*each)
    shown = observer.shown()
    indices = [each.kept.record.index for each in shown]
    assert indices[:2] == [20, 70] and len(set(indices)) == len(indices) <= 6
    assert shown[0].reasons == ("largest improvement", "largest change")


def test_kept_frames_have_memory_of_their_own(clip: Callable[..., Any]) -> None:
    observer = ReportObserver()
    for record, decoded, filtered in clip([5.0]):
        observer.see(record, decoded, filtered)
        wanted = filtered.planes[0].copy()
        filtered.planes[0][...] = 0
    assert np.array_equal(observer.shown()[0].kept.filtered.planes[0], wanted)


def test_the_guard_s_events_are_kept_with_their_times_and_bounded(clip: Callable[..., Any]) -> None:
    observer = ReportObserver()
    for each in clip([0.0] * 250, guard="flat; passed through"):
        observer.see(*each)
    assert observer.events_total == 250 and len(observer.events) == 200
    assert observer.events[25].pts_seconds == 1.0


def test_a_frame_costs_little(clip: Callable[..., Any]) -> None:
    # Processor time of this thread: other processes must not decide. The budget is 0.1 ms for a 480p frame; this one
    # is a fifth of it, most of whose cost is not in its samples.
    seen = list(clip(np.random.default_rng(2).uniform(1, 2, 64).tolist(), quality=True, tiles=77, qp=30.0))
    observer = ReportObserver()
    started = time.thread_time()
    for turn in range(8):
        for record, decoded, filtered in seen:
            record.index = turn * 64 + record.index % 64
            observer.see(record, decoded, filtered)
    assert (time.thread_time() - started) / 512 < 300e-6


def test_shares_that_are_zero_all_over_are_not_drawn(clip: Callable[..., Any]) -> None:
    observer = ReportObserver()
    for each in clip([1.0, 2.0], tiles=10, tiles_skipped=4):
        observer.see(*each)
    svg = draw_curves(observer.curves, marks={1: "#frame-1"})
    assert "tiles skipped" in svg and "tiles reused" not in svg
    assert "#frame-1" in svg and "var(--filtered)" in svg and "<style" not in svg and "<metadata" not in svg
