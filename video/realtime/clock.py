"""The stream's own clock: which moment of the machine's monotonic clock a timestamp stands for."""

from __future__ import annotations

__all__ = ["StreamClock"]

_WINDOW_SECONDS = 10.0
"""Over which the earliest frame tells how the source's clock drifts from ours: longer than jitter, shorter than
drift of 100 millionths takes to be felt."""
_PAUSE_SECONDS = 1.0
"""A file that is this much later from one frame to the next was paused: the machine slept, or the output blocked."""


class StreamClock:
    """Maps timestamps to moments.

    A file is played from its first frame on and then never waited for. Anything else is followed: the frames that came
    with the least delay tell the source's clock. A frame that comes earlier than expected moves the clock forward at
    once (a server's burst at the start), unless the reader holds it back, as it does with files and pipes. One that
    comes after its own deadline moves it back at once (the source stalled), and drift moves it slowly.

    Args:
        latency_seconds: between a frame's moment and its deadline.
        paced: whether frames that come too early are held back until their moment.
        follows: whether the source has a clock of its own; False for files.
    """

    def __init__(self, *, latency_seconds: float, paced: bool, follows: bool) -> None:
        self.latency_seconds, self.paced, self.follows = latency_seconds, paced, follows
        self.moves = 0
        """Times that the clock was set anew, because the source stalled or the machine slept."""
        self._anchor: float | None = None
        self._last_offset = 0.0
        self._window_ends = 0.0
        self._least = float("inf")

    def stamp(self, pts_seconds: float, now: float) -> float:
        """Return the moment of a frame that has just come.

        Args:
            pts_seconds: its timestamp, continuous from frame to frame.
            now: when it came.
        """
        offset = now - pts_seconds
        if self._anchor is None:
            self._anchor = self._last_offset = offset
            self._window_ends = now + _WINDOW_SECONDS
        late, jump = offset - self._anchor, offset - self._last_offset
        if late < 0 and not self.paced:
            self._anchor = offset
        elif late > self.latency_seconds if self.follows else jump > _PAUSE_SECONDS and late > _PAUSE_SECONDS:
            self._anchor = offset
            self.moves += 1
        self._last_offset = max(offset, self._anchor)
        self._follow_drift(now)
        return self._anchor + pts_seconds

    def _follow_drift(self, now: float) -> None:
        assert self._anchor is not None
        self._least = min(self._least, self._last_offset)
        if now < self._window_ends:
            return
        if self.follows:
            self._anchor = max(self._anchor, self._least)
        self._least, self._window_ends = float("inf"), now + _WINDOW_SECONDS
