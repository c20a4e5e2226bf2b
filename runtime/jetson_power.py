"""Power of Jetson modules: which rails make up the whole, and the sensors that are read as files or through jtop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from postfilter.runtime.power_sensor import SensorAbsentError, WattSensor

__all__ = ["JtopSensor", "ina3221_sensor", "module_power"]

_WHOLE = ("VIN", "VDD_IN", "POM_5V_IN")
"""Rails through which all of a module's power comes: Thor; Orin NX, Orin Nano, Xavier NX and TX2; Nano."""

_INSIDE_ANOTHER = ("VDDQ_VDD2_1V8AO",)
"""AGX Orin: its power comes through VIN_SYS_5V0. All other rails of AGX Orin and AGX Xavier stand side by side."""

_JTOP_SECONDS = 0.2


def module_power(rails: Mapping[str, float]) -> tuple[float, str]:
    """Return the power of the whole module and the names of the rails that it was summed from.

    Rails are as NVIDIA's Jetson Linux Developer Guide lists them for each module: a module with an input rail is what
    that says, for the others their rails are added, those inside another left out.

    Args:
        rails: name -> power, in any unit; not empty.
    """
    names = [name for name in _WHOLE if name in rails][:1] or [name for name in rails if name not in _INSIDE_ANOTHER]
    return sum(rails[name] for name in names), " + ".join(names)


def ina3221_sensor(root: Path = Path("/sys")) -> WattSensor:
    """Return the sensor made of the module's INA3221 power monitors, read as files.

    JetPack 5 and newer: class/hwmon/hwmon*/in<N>_label, in<N>_input in mV, curr<N>_input in mA. JetPack 4:
    bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_<N>, in_power<N>_input in mW.

    Args:
        root: where sysfs is.

    Raises:
        SensorAbsentError: no such monitor, or not readable.
    """
    rails = _hwmon_rails(root) | _iio_rails(root)
    if not rails:
        raise SensorAbsentError(f"no such power monitor under {root}; most Jetsons have it")

    def watts() -> dict[str, float]:
        try:
            return {name: read() for name, read in rails.items()}
        except (OSError, ValueError) as error:
            raise SensorAbsentError(f"the INA3221 power monitor cannot be read ({error})") from error

    return WattSensor("ina3221", f"module ({module_power(watts())[1]})", lambda: module_power(watts())[0])


class JtopSensor(WattSensor):
    """The sensor of jetson-stats 4, a service on Jetsons; it is asked when work begins."""

    def __init__(self) -> None:
        try:
            import jtop
        except ImportError as error:
            raise SensorAbsentError(f"jetson-stats, which is for Jetsons, is not installed ({error})") from error
        super().__init__("jtop", "module", lambda: _jtop_power(self._client)[0], period_seconds=_JTOP_SECONDS)
        self._client: Any = jtop.jtop(interval=_JTOP_SECONDS)

    def start(self) -> None:
        """See `PowerSensor`; connects to the service."""
        try:
            self._client.start()
        # Its errors share no base but Exception: JtopException, and whatever its socket raises.
        except Exception as error:
            raise SensorAbsentError(
                f"the service of jetson-stats does not answer ({error}): sudo systemctl start jtop"
            ) from error
        try:
            self.covers = f"module ({_jtop_power(self._client)[1]})"
            super().start()
        except SensorAbsentError:
            self._client.close()
            raise

    def stop(self) -> float:
        """See `PowerSensor`."""
        try:
            return super().stop()
        finally:
            self._client.close()


def _jtop_power(client: Any) -> tuple[float, str]:
    """Return watts and the rails they are of. `power` is {"rail": {name: {"power": mW, …}}, "tot": {…}}."""
    try:
        told = client.power
        rails = {name: float(rail["power"]) for name, rail in told["rail"].items()}
        whole = told["tot"]
        if "name" in whole:  # the rail through which all comes is taken out of the others
            return float(whole["power"]) / 1e3, str(whole["name"])
        milliwatts, names = module_power(rails)
    except (KeyError, TypeError, ValueError) as error:
        raise SensorAbsentError(f"jetson-stats tells no power ({error!r}); version 4 does on most modules") from error
    if not rails:
        raise SensorAbsentError("jetson-stats knows of no power rail on this module")
    return milliwatts / 1e3, names


def _hwmon_rails(root: Path) -> dict[str, Callable[[], float]]:
    rails: dict[str, Callable[[], float]] = {}
    for device in sorted((root / "class" / "hwmon").glob("hwmon*")):
        if _text(device / "name") != "ina3221":
            continue
        for label in sorted(device.glob("in*_label")):
            number, name = label.name.removeprefix("in").removesuffix("_label"), _text(label)
            files = device / f"in{number}_input", device / f"curr{number}_input"
            # Unconnected channels are called NC; one of the labels is of the sum of shunt voltages, without a current.
            if name and name != "NC" and all(file.exists() for file in files):
                rails[name] = partial(_watts_of, *files)
    return rails


def _iio_rails(root: Path) -> dict[str, Callable[[], float]]:
    rails: dict[str, Callable[[], float]] = {}
    for label in sorted((root / "bus" / "i2c" / "drivers" / "ina3221x").glob("*/iio:device*/rail_name_*")):
        file = label.with_name(f"in_power{label.name.removeprefix('rail_name_')}_input")
        if _text(label) not in ("", "NC") and file.exists():
            rails[_text(label)] = partial(_watts, file)
    return rails


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _watts_of(millivolts: Path, milliamperes: Path) -> float:
    return float(millivolts.read_text()) * float(milliamperes.read_text()) / 1e6


def _watts(milliwatts: Path) -> float:
    return float(milliwatts.read_text()) / 1e3
