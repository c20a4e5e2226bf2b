"""The energy counters of Intel and AMD processors (RAPL), as Linux offers them under /sys/class/powercap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from postfilter.runtime.power_sensor import PolledSensor, SensorAbsentError

__all__ = ["RaplSensor"]

_POLL_SECONDS = 10.0
"""Often enough: a counter of 65 kJ, the smallest in use, takes minutes to come round at any power."""


@dataclass
class _Zone:
    folder: Path
    largest_uj: int
    last_uj: int = 0


class RaplSensor(PolledSensor):
    """Counts the joules of all processor packages, and of their memory where there is a counter for it.

    Linux's driver serves both makers under the name `intel-rapl`. The counters are in microjoules and come round to 0
    past `max_energy_range_uj`: linux/Documentation/power/powercap/powercap.rst. They count all that the processors do,
    not this process alone.

    Args:
        root: where sysfs is.
    """

    name = "rapl"

    def __init__(self, root: Path = Path("/sys")) -> None:
        super().__init__(period_seconds=_POLL_SECONDS)
        folder = root / "class" / "powercap"
        zones = {each: _text(each / "name") for each in sorted(folder.glob("intel-rapl:*"))}
        # Other zones are parts of a package (core, uncore), or hold it (psys): they would be counted twice.
        wanted = [each for each, name in zones.items() if name.startswith("package") or name == "dram"]
        if not any(zones[each] != "dram" for each in wanted):
            raise SensorAbsentError(
                f"{folder} has no intel-rapl package: a virtual machine, a processor of neither Intel nor AMD, or a "
                "kernel module that is not loaded (sudo modprobe intel_rapl_msr)"
            )
        self._zones = [_Zone(each, _number(each / "max_energy_range_uj")) for each in wanted]
        for zone in self._zones:
            _number(zone.folder / "energy_uj")
        self.covers = "CPU packages and memory" if "dram" in zones.values() else "CPU packages"

    def _sample(self, *, first: bool) -> None:
        for zone in self._zones:
            now = _number(zone.folder / "energy_uj")
            if not first:
                used = now - zone.last_uj
                self._joules += (used if used >= 0 else used + zone.largest_uj) / 1e6
            zone.last_uj = now


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _number(file: Path) -> int:
    try:
        return int(file.read_text())
    except PermissionError as error:
        # Since 2020 for root alone: the counters are fine enough to guess secrets from (CVE-2020-8694).
        raise SensorAbsentError(
            f"{file} is for root alone: run as root, or sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj"
        ) from error
    except (OSError, ValueError) as error:
        raise SensorAbsentError(f"{file} cannot be read ({error})") from error
