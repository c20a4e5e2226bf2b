"""Times that containers tell wrongly, and what frames leave with."""

from __future__ import annotations

from fractions import Fraction

import av
import pytest

from postfilter.video.reading.clock import FrameClock


def stamped(times: list[int | None], *, lookahead: int = 1, step: int = 10) -> tuple[list[int], int]:
    clock = FrameClock(tick=Fraction(1, 1000), step=step, lookahead=lookahead)
    left = []
    for at in times:
        frame = av.VideoFrame(16, 16, "gray")
        frame.pts, frame.duration = at, step
        left += [each.pts for each in clock.push(frame)]
    left += [each.pts for each in clock.flush()]
    assert all(isinstance(each, int) for each in left)
    return [each for each in left if each is not None], clock.moved


@pytest.mark.parametrize(
    ("times", "lookahead", "expected", "moved"),
    [
        ([0, 10, 25, 90], 1, [0, 10, 25, 90], 0),
        ([-20, -10, 0], 0, [-20, -10, 0], 0),
        ([None, None, None], 1, [0, 10, 20], 0),
        ([0, 33, 67, 50, 99], 1, [0, 33, 50, 67, 99], 2),
        ([0, 10, 30, 40, 50, 20, 60], 16, [0, 10, 20, 30, 40, 50, 60], 4),
        ([0, 10, 20, 30, 20], 1, [0, 10, 20, 30, 40], 1),
        ([0, 10, 10, 20], 1, [0, 10, 15, 20], 1),
        ([500, 510, 520, 0, 10], 1, [500, 510, 520, 530, 540], 2),
        ([0, 10, 1 << 60, 30], 1, [0, 10, 20, 30], 1),
        ([0, 10, 100_000_000, 30], 0, [0, 10, 20, 30], 1),
    ],
)
def test_times_increase_and_stay_where_they_can(
    times: list[int | None], lookahead: int, expected: list[int], moved: int
) -> None:
    assert stamped(times, lookahead=lookahead) == (expected, moved)
