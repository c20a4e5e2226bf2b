"""tegrastats, the program on every Jetson that prints a line of the module's state: reading it, and its power."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field

from postfilter.runtime.jetson_power import module_power
from postfilter.runtime.power_sensor import SensorAbsentError

__all__ = ["Rail", "TegraStats", "TegrastatsSensor", "parse_tegrastats"]

_INTERVAL_MS = 100
_FIRST_LINE_SECONDS = 5.0

# The forms of JetPack 4 (`VDD_IN 5079/5079`), 5 and 6 (`… 5079mW/5079mW`) and 7 (a third number, the highest).
_RAIL = re.compile(r"(?<!\S)([A-Z0-9][A-Z0-9_]*) (\d+)(?:mW)?/(\d+)(?:mW)?(?:/\d+(?:mW)?)?(?!\S)")
_MEMORY = re.compile(r"(?<!\S)(RAM|SWAP) (\d+)/(\d+)MB")
_CPU = re.compile(r"(?<!\S)CPU \[([^\]]*)\]")
# `EMC_FREQ 0%`, `EMC_FREQ 3%@3199`, `GR3D_FREQ 12%@[1300,1300]`; Thor tells clocks alone: `GR3D_FREQ @[1000,1000]`.
_LOAD = re.compile(r"(?<!\S)(EMC|GR3D)_FREQ (\d+)%")
_TEMPERATURE = re.compile(r"(?<!\S)([A-Za-z][\w-]*)@(-?\d+(?:\.\d+)?)C")


@dataclass(frozen=True, kw_only=True)
class Rail:
    """The power of one rail in milliwatts."""

    now_mw: int
    average_mw: int
    """Since tegrastats was started."""


@dataclass(frozen=True, kw_only=True)
class TegraStats:
    """One line of tegrastats. Modules and versions leave out what they do not know: that is None, or missing."""

    ram_used_mb: int | None = None
    ram_total_mb: int | None = None
    swap_used_mb: int | None = None
    swap_total_mb: int | None = None
    cpu_percent: tuple[int | None, ...] = ()
    """Load of each core at its present clock; None where it is off."""
    gpu_percent: int | None = None
    memory_controller_percent: int | None = None
    temperatures_c: dict[str, float] = field(default_factory=dict)
    """Sensor, in lower case (versions differ) -> degrees. Sensors that are off read -256."""
    rails: dict[str, Rail] = field(default_factory=dict)

    @property
    def watts(self) -> float | None:
        """Power of the whole module now; None where no rail is told."""
        return module_power({name: each.now_mw / 1e3 for name, each in self.rails.items()})[0] if self.rails else None


def parse_tegrastats(line: str) -> TegraStats:
    """Read one line of tegrastats, of any JetPack from 4 to 7. What is not there, or not understood, is left out."""
    memory = {name: (int(used), int(total)) for name, used, total in _MEMORY.findall(line)}
    loads = {name: int(percent) for name, percent in _LOAD.findall(line)}
    ram, swap = memory.get("RAM", (None, None)), memory.get("SWAP", (None, None))
    cores = _CPU.search(line)
    return TegraStats(
        ram_used_mb=ram[0],
        ram_total_mb=ram[1],
        swap_used_mb=swap[0],
        swap_total_mb=swap[1],
        cpu_percent=tuple(_percent(core) for core in cores[1].split(",")) if cores else (),
        gpu_percent=loads.get("GR3D"),
        memory_controller_percent=loads.get("EMC"),
        temperatures_c={name.lower(): float(degrees) for name, degrees in _TEMPERATURE.findall(line)},
        rails={name: Rail(now_mw=int(now), average_mw=int(average)) for name, now, average in _RAIL.findall(line)},
    )


class TegrastatsSensor:
    """The power of a Jetson module, from the lines of a tegrastats that runs meanwhile.

    Args:
        program: its name or path.
    """

    name = "tegrastats"
    covers = "module"

    def __init__(self, program: str = "tegrastats") -> None:
        found = shutil.which(program)
        if found is None:
            raise SensorAbsentError(f"no program {program} is found; every Jetson has it")
        self._program = found

    def start(self) -> None:
        """See `PowerSensor`; runs the program and waits for its first line."""
        self._watts: list[float] = []
        self._said = ""
        self._told = threading.Event()
        try:
            self._process = subprocess.Popen(
                [self._program, "--interval", str(_INTERVAL_MS)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise SensorAbsentError(f"{self._program} cannot be run ({error})") from error
        self._reader = threading.Thread(target=self._read, daemon=True, name="postfilter-tegrastats")
        self._reader.start()
        self._told.wait(_FIRST_LINE_SECONDS)
        if not self._watts:
            self._end()
            raise SensorAbsentError(f"{self._program} tells no power; the last it said: {self._said or 'nothing'}")
        self._begin, self._before = time.perf_counter(), len(self._watts)

    def stop(self) -> float:
        """See `PowerSensor`."""
        seconds = time.perf_counter() - self._begin
        self._end()
        # Readings come at even intervals: their mean is that of the time. The first counts if no other came.
        watts = self._watts[self._before :] or self._watts
        return sum(watts) / len(watts) * seconds

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said = line.strip() or self._said
            stats = parse_tegrastats(line)
            if stats.watts is not None:
                self.covers = f"module ({module_power(dict.fromkeys(stats.rails, 0.0))[1]})"
                self._watts.append(stats.watts)
                self._told.set()
        self._told.set()  # it ended by itself

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()


def _percent(core: str) -> int | None:
    """`12%@1479` is 12; `off` is None."""
    load, percent, _ = core.strip().partition("%")
    return int(load) if percent and load.isdigit() else None
