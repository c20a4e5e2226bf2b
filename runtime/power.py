"""Power and energy of what runs, from the best sensor that this machine has; absent ones are named with the reason."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from postfilter.runtime.cuda_probe import cuda_name
from postfilter.runtime.jetson_power import JtopSensor, ina3221_sensor
from postfilter.runtime.nvml_power import nvml_sensor
from postfilter.runtime.power_sensor import PowerSensor, SensorAbsentError
from postfilter.runtime.rapl import RaplSensor
from postfilter.runtime.tegrastats import TegrastatsSensor

__all__ = ["PowerMeter", "PowerUse", "SensorState"]


@dataclass(frozen=True, kw_only=True)
class PowerUse:
    """What a stretch of work took. All that the sensor covers counts, idle power included: nothing is subtracted."""

    sensor: str
    covers: str
    """What the sensor measures, for instance `CPU packages`."""
    joules: float
    seconds: float
    watts: float
    """The mean."""
    frames: int
    mj_per_frame: float


@dataclass(frozen=True, kw_only=True)
class SensorState:
    """One sensor that was looked for."""

    name: str
    """`nvml`, `rapl`, `tegrastats`, `jtop` or `ina3221`."""
    available: bool
    reason: str
    """Why it is not available and what would help; empty where it is."""


class PowerMeter:
    """Measures the energy between entering and leaving a `with` block.

    The best sensor for the device is used: for an NVIDIA GPU NVML, for a CPU its own counters (RAPL), on a Jetson,
    where CPU and GPU share the module's sensors, tegrastats, jtop, or the power monitors' files. Without any the block
    runs as ever, and `use` returns None.

    Args:
        device: a backend's name of the device that will work.
        sysfs: where Linux's sysfs is.
        tegrastats: name or path of the program.
    """

    def __init__(self, device: str, *, sysfs: Path = Path("/sys"), tegrastats: str = "tegrastats") -> None:
        gpu = cuda_name(device)
        self._makers: dict[str, Callable[[], PowerSensor]] = {
            "nvml": lambda: _on_gpu(gpu),
            "rapl": lambda: _on_cpu(gpu, sysfs),
            "tegrastats": lambda: TegrastatsSensor(tegrastats),
            "jtop": JtopSensor,
            "ina3221": lambda: ina3221_sensor(sysfs),
        }
        self.sensors: tuple[SensorState, ...] = ()
        """Every sensor that was looked for; known once the block is entered, and final when it is left."""
        self._used: PowerSensor | None = None
        self._joules: float | None = None

    def __enter__(self) -> PowerMeter:
        found: dict[str, PowerSensor] = {}
        reasons = dict.fromkeys(self._makers, "")
        for name, make in self._makers.items():
            try:
                found[name] = make()
            except SensorAbsentError as error:
                reasons[name] = str(error)
        # The search takes its time: only then the clock starts.
        for name, sensor in found.items():
            try:
                sensor.start()
                self._used = sensor
                break
            except SensorAbsentError as error:
                reasons[name] = str(error)
        self.sensors = tuple(
            SensorState(name=name, available=not reason, reason=reason) for name, reason in reasons.items()
        )
        self._begin = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._seconds = time.perf_counter() - self._begin
        if self._used is None:
            return
        try:
            self._joules = self._used.stop()
        except SensorAbsentError as absent:
            failed = SensorState(name=self._used.name, available=False, reason=str(absent))
            self.sensors = tuple(failed if each.name == failed.name else each for each in self.sensors)

    def use(self, *, frames: int) -> PowerUse | None:
        """Return what the block took, which filtered so many frames; None where no sensor measured it."""
        if self._used is None or self._joules is None:
            return None
        return PowerUse(
            sensor=self._used.name,
            covers=self._used.covers,
            joules=self._joules,
            seconds=self._seconds,
            watts=self._joules / self._seconds,
            frames=frames,
            mj_per_frame=self._joules * 1e3 / frames,
        )


def _on_gpu(gpu: str | None) -> PowerSensor:
    if gpu is None:
        raise SensorAbsentError("it is for NVIDIA GPUs, and the work is not on one")
    return nvml_sensor(gpu)


def _on_cpu(gpu: str | None, sysfs: Path) -> PowerSensor:
    if gpu is not None:
        raise SensorAbsentError("it is for processors, and the work is on a GPU")
    return RaplSensor(sysfs)
