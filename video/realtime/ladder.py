"""Which rung a frame is filtered on: quick to step down, slow to step up, decided by measured costs alone.

Nothing here knows of threads or reads a clock, so that every decision can be tested with made-up times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

__all__ = ["Choice", "Ladder", "LadderSettings", "Rung"]

_SAMPLES = 8
"""Of a cost that are remembered: a change of load is believed after half of them."""
_PROBES = 3
"""Frames tried on the rung above; the median is believed, since the first one after a pause is slow."""
_HOPELESS = 3
"""Times the time there is: a try that takes longer is given up after one frame, slow as a first one may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One way to treat frames."""

    name: str
    work: int | None
    """Which filter runs; None passes frames through. Rungs with the same filter share its measured cost."""
    every: int = 1
    """Every so-manieth frame is filtered, the others pass through."""


@dataclass(frozen=True, kw_only=True)
class LadderSettings:
    """How eager the ladder is."""

    up_after_seconds: float = 2.0
    """Without any trouble, before the rung above is tried; doubled after each try that fails."""
    longest_wait_seconds: float = 32.0
    """The most that doubling leads to."""
    head_room: float = 0.85
    """The rung above must take at most this share of the time between two frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How one frame is to be treated."""

    rung: int
    """Index of the rung whose treatment it gets."""
    work: int | None
    """Which filter runs on it; None passes it through."""
    probe: bool = False
    """Whether it tries the rung above."""


class Ladder:
    """Chooses the rung of each frame.

    Down, at most one decision in a settling time, so that its effect is seen before the next:

    1. A frame that would not be done by its deadline on the current rung gets the first lower rung on which it would,
       and the ladder steps down. The deadline is so kept at once, whatever the ladder has yet to learn.
    2. A frame that was late steps it down.
    3. Frames that take longer than the time between them step it down once half of the slack is used up.

    It steps to the first lower rung whose known cost can be sustained. Up, one rung at a time: after some seconds
    without trouble a few frames try the rung above; if they leave head-room it is taken. A try that fails, or a rung
    that is lost again soon, doubles the wait for that rung.

    Args:
        rungs: from the best to the cheapest; the last one passes frames through.
        interval_seconds: between two frames.
        latency_seconds: between a frame's time and its deadline.
        settings: how eager it is.
    """

    def __init__(
        self,
        rungs: Sequence[Rung],
        *,
        interval_seconds: float,
        latency_seconds: float,
        settings: LadderSettings | None = None,
    ) -> None:
        if not rungs or rungs[-1].work is not None:
            raise ValueError(f"the last rung must pass frames through, got {[each.name for each in rungs]}")
        self.rungs = tuple(rungs)
        self.current = 0
        """Index of the rung that frames are on."""
        self.steps_down = self.steps_up = 0
        self.frames = [0] * len(rungs)
        """Frames that got each rung's treatment; on `half`, those that pass are counted as well."""
        self.seconds = [0.0] * len(rungs)
        """Time for which each rung was the current one."""
        self._interval, self._latency, self._settings = interval_seconds, latency_seconds, settings or LadderSettings()
        self._costs: dict[int, deque[float]] = {}
        self._failures = [0] * len(rungs)
        self._probes: list[float] | None = None
        self._count = 0
        self._now = 0.0
        self._calm_since = 0.0
        self._stepped_down_at = self._climbed_at = float("-inf")

    @property
    def interval_seconds(self) -> float:
        """Between two frames, as it turned out lately."""
        return self._interval

    def learn(self, work: int, seconds: float) -> None:
        """Take note of what a filter costs, before or during the run."""
        self._costs.setdefault(work, deque(maxlen=_SAMPLES)).append(seconds)

    def begin(self, now: float) -> None:
        """Start the clock, on the first rung whose cost, as far as it was learnt, can be sustained."""
        self.current = self._first_sustainable(0)
        self._calm_since = self._now = now

    def choose(self, now: float, *, slack: float, tail: float = 0.0, spacing: float | None = None) -> Choice:
        """Return how the next frame is treated.

        Args:
            now: in seconds, of a clock that never goes back.
            slack: seconds until the frame's deadline; negative where it has passed.
            tail: seconds that encoding and writing it will take after it was filtered.
            spacing: seconds between this frame's timestamp and the one before.
        """
        self._advance(now)
        slack -= tail
        half = (self._latency - tail) / 2
        if spacing is not None and 0 < spacing < 10 * self._interval:
            self._interval += (spacing - self._interval) / 16
        self._count += 1
        fitting = self._first_fitting(slack)
        overloaded = self._load(self.current) > 1 and slack < half
        if fitting > self.current or overloaded:
            self._step_down(now)
        elif slack < half:
            self._trouble(now, failed=self._probes is not None)
        probe = fitting <= self.current and self._may_try(now) and self._try_above(now)
        rung = max(fitting, self.current)
        self.frames[rung] += 1
        return Choice(rung=rung, work=self.rungs[rung - 1].work if probe else self._work_now(rung), probe=probe)

    def measured(self, now: float, choice: Choice, seconds: float) -> None:
        """Tell what filtering a frame took."""
        if choice.work is None:
            return
        if not choice.probe:
            self.learn(choice.work, seconds)
            return
        if self._probes is None:
            return  # trouble came in between
        self._probes.append(seconds)
        above = self.current - 1
        hopeless = seconds > _HOPELESS * self._interval * self.rungs[above].every
        if len(self._probes) < _PROBES and not hopeless:
            return
        cost = seconds if hopeless else median(self._probes)
        self._costs.pop(choice.work, None)
        self.learn(choice.work, cost)
        if self._load(above) <= self._settings.head_room:
            self._step_up(now)
        else:
            self._trouble(now, failed=True)

    def finished(self, now: float, *, margin: float) -> None:
        """Tell that a frame left, `margin` seconds before its deadline (negative: after it)."""
        if margin < 0:
            self._advance(now)
            self._step_down(now)

    def end(self, now: float) -> None:
        """Count the time of the last rung."""
        self._advance(now)

    def _advance(self, now: float) -> None:
        self.seconds[self.current] += now - self._now
        self._now = now
        if self._failures[self.current] and now - self._climbed_at > self._trial_seconds:
            self._failures[self.current] = 0

    def _first_fitting(self, slack: float) -> int:
        for index in range(self.current, len(self.rungs)):
            work = self._work_now(index)
            if work is None or self._typical(work) <= slack:
                return index
        return len(self.rungs) - 1

    def _work_now(self, index: int) -> int | None:
        rung = self.rungs[index]
        return rung.work if self._count % rung.every == 0 else None

    def _typical(self, work: int) -> float:
        costs = self._costs.get(work)
        return median(costs) if costs else 0.0

    def _load(self, index: int) -> float:
        """Share of the time between two frames that a rung takes; 0 where it is not known."""
        rung = self.rungs[index]
        costs = None if rung.work is None else self._costs.get(rung.work)
        return fmean(costs) / rung.every / self._interval if costs else 0.0

    def _first_sustainable(self, highest: int) -> int:
        lowest = len(self.rungs) - 1
        return next((index for index in range(highest, lowest) if self._load(index) <= 1), lowest)

    @property
    def _trial_seconds(self) -> float:
        """A rung that is lost sooner than this after climbing to it was not sustainable."""
        return 2 * self._settings.up_after_seconds

    def _trouble(self, now: float, *, failed: bool = False) -> None:
        """Start to wait anew; longer where a try of the rung above failed."""
        self._failures[self.current - 1] += failed
        self._calm_since = now
        self._probes = None

    def _step_down(self, now: float) -> None:
        self._trouble(now, failed=self._probes is not None)
        lowest = len(self.rungs) - 1
        if self.current == lowest or now - self._stepped_down_at < max(self._latency, 4 * self._interval):
            return
        if now - self._climbed_at < self._trial_seconds:
            self._failures[self.current] += 1
        self.current = self._first_sustainable(self.current + 1)
        self._stepped_down_at = now
        self.steps_down += 1

    def _step_up(self, now: float) -> None:
        self._trouble(now)
        self.current -= 1
        self._climbed_at = now
        self.steps_up += 1

    def _may_try(self, now: float) -> bool:
        if self.current == 0:
            return False
        settings = self._settings
        wait = min(settings.longest_wait_seconds, settings.up_after_seconds * 2 ** self._failures[self.current - 1])
        return now - self._calm_since >= wait

    def _try_above(self, now: float) -> bool:
        """Step up where the cost of the rung above is being measured already; else return whether to try it."""
        above, here = self.rungs[self.current - 1], self.rungs[self.current]
        if above.work == here.work:
            if self._load(self.current - 1) <= self._settings.head_room:
                self._step_up(now)
            return False
        if self._probes is None:
            self._probes = []
        return self._count % above.every == 0
