"""What held a run back: how fast each of its resources alone would have let it go."""

from __future__ import annotations

import time
from dataclasses import dataclass

from postfilter.runtime.backend import usable_cores

__all__ = ["Limits", "RunTime", "limits_of"]

_FULL = 0.9
"""Of the cores: from here on they count as taken."""


class RunTime:
    """What a run takes, from `begin` to `end` or to now. May be read by any thread."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin, or begin anew."""
        self._ended: tuple[float, float] | None = None
        self._begun = _now()

    def end(self) -> None:
        """Count no further."""
        self._ended = _now()

    @property
    def seconds(self) -> float:
        """By the clock; never 0."""
        return max(1e-9, (self._ended or _now())[0] - self._begun[0])

    @property
    def cpu_seconds(self) -> float:
        """Of all threads of the process together."""
        return (self._ended or _now())[1] - self._begun[1]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The rate that each resource allows by itself, in frames a second, and which of them is the lowest."""

    cpu_fps: float
    """If every core worked all the time, at the CPU time that a frame took."""
    decode_fps: float
    """If nothing waited for anything but the decoder; so for `filter_fps` and `encode_fps`."""
    filter_fps: float
    encode_fps: float
    slowest: str
    """`cpu`, `decode`, `filter` or `encode`."""
    share: float
    """Of what the slowest allows, how much the run reached: 1 is all."""
    cores_busy: float
    """Of the usable cores, on average."""
    cores: int


def limits_of(*, frames: int, seconds: float, cpu_seconds: float, busy_seconds: dict[str, float]) -> Limits:
    """Return what a run's resources would have allowed.

    A stage's own rate says how long its thread was occupied, waiting for the cores included: on a machine whose cores
    are all taken every stage looks slower than it is, and the cores are what counts.

    Args:
        frames: that went through.
        seconds: that they took.
        cpu_seconds: of all threads together.
        busy_seconds: of the threads `decode`, `filter` and `encode`, without their waiting for each other.
    """
    cores = usable_cores(None)
    fps = frames / seconds
    rates = {"cpu": cores * frames / max(cpu_seconds, 1e-9)}
    rates |= {stage: frames / max(busy, 1e-9) for stage, busy in busy_seconds.items()}
    # Where the cores are full, the threads are slow for want of them.
    full = cpu_seconds / seconds >= _FULL * cores
    slowest = "cpu" if full else min(rates, key=lambda each: rates[each])
    return Limits(
        **{f"{name}_fps": rate for name, rate in rates.items()},
        slowest=slowest,
        share=min(1.0, fps / rates[slowest]),
        cores_busy=cpu_seconds / seconds,
        cores=cores,
    )


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
