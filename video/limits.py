"""What held a run back: how fast each of its resources alone would have let it go."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from postfilter.runtime.backend import usable_cores

__all__ = ["CpuTime", "Limits", "limits_of"]

_FULL = 0.9
"""Of the cores: from here on they count as taken."""


class CpuTime:
    """CPU time of the whole process between entering and leaving a `with` block."""

    seconds: float = 0.0
    """Of all threads together."""
    wall_seconds: float = 0.0

    def __enter__(self) -> CpuTime:
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.seconds = time.process_time() - self._cpu
        self.wall_seconds = time.perf_counter() - self._wall


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

    def as_json(self) -> dict[str, Any]:
        """Return the figures under their names."""
        return dict(vars(self))


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
