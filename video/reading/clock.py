"""Timestamps that increase strictly: kept where the container's are usable, mended where they are not."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av import VideoFrame

__all__ = ["FrameClock"]

_FURTHEST_SECONDS = 10**10
"""Beyond three hundred years, in either direction, a timestamp is no time (those since 1970 are within)."""
_LONGEST_GAP_SECONDS = 24 * 3600
"""No frame is shown for longer; a jump beyond it is a damaged number."""


class FrameClock:
    """Gives every frame of a clip a timestamp.

    Frames leave in the order in which they come, a few later. Times that come in another order are handed to the frames
    in theirs: streams whose container tells only the order of decoding, or tells it wrongly, play as they were meant. A
    time that was there already, or lies before one that was handed out, is dropped, and the frame set where its
    predecessor ends or half-way to its successor.

    Args:
        tick: seconds a unit of the timestamps.
        step: a frame's usual duration in ticks.
        lookahead: frames held back, so that times can be put in order.
    """

    def __init__(self, *, tick: Fraction, step: int, lookahead: int = 1) -> None:
        self.moved = 0
        """Frames that left with another time than they came with."""
        self.first_moved_seconds: float | None = None
        """The time that the first of these came with."""
        self._tick, self._step, self._lookahead = tick, max(1, step), lookahead
        self._held: deque[tuple[VideoFrame, int | None]] = deque()
        self._times: list[int] = []
        self._told: int | None = None
        self._last: int | None = None
        self._last_duration = 0

    def push(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        """Take a frame; yield the ones that are ready, with `pts`, `duration` and `time_base` set."""
        pts = frame.pts if frame.pts is not None else frame.dts
        if pts is not None and abs(pts * self._tick) > _FURTHEST_SECONDS:
            pts = None
        if pts is None or not 0 < frame.duration * self._tick <= _LONGEST_GAP_SECONDS:
            frame.duration = self._step  # a raw byte stream's durations are guesses
        if pts is not None and self._told is not None and (pts - self._told) * self._tick > _LONGEST_GAP_SECONDS:
            pts = None
        if pts is not None:
            insort(self._times, pts)
            self._told = pts
        self._held.append((frame, pts))
        if len(self._held) > self._lookahead:
            yield self._stamp()

    def flush(self) -> Iterator[VideoFrame]:
        """Yield the frames that are left, at the clip's end."""
        while self._held:
            yield self._stamp()

    def _stamp(self) -> VideoFrame:
        frame, came_with = self._held.popleft()
        while self._last is not None and self._times and self._times[0] <= self._last:
            self._times.pop(0)
        if self._times and (len(self._times) > len(self._held) or self._times[0] == came_with):
            pts = self._times.pop(0)
        elif self._last is not None:
            room = (self._times[0] - self._last) // 2 if self._times else self._last_duration
            pts = self._last + max(1, min(self._last_duration, room))
        else:  # there is none before it: as long before the next one as it lasts
            pts = self._times[0] - frame.duration if self._times else 0
        if pts != came_with and self._told is not None:  # in a stream without any times, none is moved
            self.moved += 1
            if self.first_moved_seconds is None:
                self.first_moved_seconds = float((pts if came_with is None else came_with) * self._tick)
        frame.pts, frame.time_base = pts, self._tick
        self._last, self._last_duration = pts, max(1, frame.duration)
        return frame
