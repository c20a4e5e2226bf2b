"""What held a run back."""

from __future__ import annotations

import time

import pytest

from postfilter.runtime.backend import usable_cores
from postfilter.video.limits import RunTime, limits_of


def test_full_cores_are_what_holds_a_run_back() -> None:
    cores = usable_cores(None)
    busy = {"decode": 1.0, "filter": 10.0, "encode": 4.0}
    limits = limits_of(frames=100, seconds=10.0, cpu_seconds=9.5 * cores, busy_seconds=busy)
    assert limits.slowest == "cpu" and limits.share == pytest.approx(0.95)
    assert limits.cpu_fps == pytest.approx(100 / 9.5) and limits.decode_fps == pytest.approx(100)


def test_with_idle_cores_it_is_the_slowest_thread() -> None:
    busy = {"decode": 1.0, "filter": 9.8, "encode": 4.0}
    limits = limits_of(frames=100, seconds=10.0, cpu_seconds=0.1, busy_seconds=busy)
    assert limits.slowest == "filter" and limits.share == pytest.approx(0.98)


def test_cpu_time_counts_work_and_not_sleep() -> None:
    took = RunTime()
    time.sleep(0.1)
    took.end()
    assert took.cpu_seconds < 0.05 and took.seconds >= 0.1
    took.begin()
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    assert took.cpu_seconds > 0.09
