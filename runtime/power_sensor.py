"""What measures power: the contract of a sensor, and those that are asked again and again while work goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["PolledSensor", "PowerSensor", "SensorAbsentError", "WattSensor"]

_POLL_SECONDS = 0.05


class SensorAbsentError(Exception):
    """This machine does not have the sensor, or it cannot be read; the text says why and what would help.

    It never reaches a user as an error: a machine without a sensor is measured without it, and says so.
    """


class PowerSensor(Protocol):
    """Measures the energy of what it covers, between `start` and `stop`. Construction fails where it is absent."""

    name: str
    """As in `--json`, for instance `nvml`."""
    covers: str
    """What the figures are of, for instance `CPU packages`."""

    def start(self) -> None:
        """Begin to measure.

        Raises:
            SensorAbsentError: it gives no readings.
        """
        ...

    def stop(self) -> float:
        """End, and return the joules since `start`.

        Raises:
            SensorAbsentError: it gave no readings.
        """
        ...


class PolledSensor:
    """Calls `_sample` at the start, then every so often in a thread, and once more at the end."""

    name: str
    covers: str

    def __init__(self, *, period_seconds: float = _POLL_SECONDS) -> None:
        self._period_seconds = period_seconds
        self._joules = 0.0
        self._failure: SensorAbsentError | None = None

    def start(self) -> None:
        """See `PowerSensor`."""
        self._joules, self._failure = 0.0, None
        self._sample(first=True)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True, name=f"postfilter-{self.name}")
        self._thread.start()

    def stop(self) -> float:
        """See `PowerSensor`."""
        self._stopped.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        self._sample(first=False)
        return self._joules

    def _poll(self) -> None:
        while not self._stopped.wait(self._period_seconds):
            try:
                self._sample(first=False)
            except SensorAbsentError as error:
                self._failure = error
                return

    def _sample(self, *, first: bool) -> None:
        """Read the sensor and add to `_joules` what was used since the sample before; nothing at the first."""
        raise NotImplementedError


class WattSensor(PolledSensor):
    """A sensor that tells watts: the energy is their integral over time, by trapezoids between readings.

    Args:
        name: see `PowerSensor`.
        covers: see `PowerSensor`.
        read: returns watts; raises `SensorAbsentError` where it cannot.
        period_seconds: between readings.
    """

    def __init__(
        self, name: str, covers: str, read: Callable[[], float], *, period_seconds: float = _POLL_SECONDS
    ) -> None:
        super().__init__(period_seconds=period_seconds)
        self.name, self.covers, self._read = name, covers, read
        self._last_watts = self._last_time = 0.0

    def _sample(self, *, first: bool) -> None:
        watts, now = self._read(), time.perf_counter()
        if not first:
            self._joules += (watts + self._last_watts) / 2 * (now - self._last_time)
        self._last_watts, self._last_time = watts, now
