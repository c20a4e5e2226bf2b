from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from postfilter.runtime import cuda_probe
from postfilter.runtime.jetson_power import JtopSensor, ina3221_sensor
from postfilter.runtime.nvml_power import nvml_sensor
from postfilter.runtime.power import PowerMeter
from postfilter.runtime.power_sensor import SensorAbsentError, WattSensor
from postfilter.runtime.rapl import RaplSensor


def zone(root: Path, number: str, name: str, energy: object, largest: int = 1_000_000_000) -> Path:
    """One RAPL zone of a sysfs of our own."""
    folder = root / "class" / "powercap" / f"intel-rapl:{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{largest}\n")
    return folder


def ina(root: Path, number: int, rails: dict[str, tuple[int, int]]) -> None:
    """One INA3221 as JetPack 5 shows it: name -> (millivolts, milliamperes) of its channels, from 1 on."""
    folder = root / "class" / "hwmon" / f"hwmon{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text("ina3221\n")
    for channel, (name, (millivolts, milliamperes)) in enumerate(rails.items(), start=1):
        (folder / f"in{channel}_label").write_text(f"{name}\n")
        (folder / f"in{channel}_input").write_text(f"{millivolts}\n")
        (folder / f"curr{channel}_input").write_text(f"{milliamperes}\n")
    # The driver's sum of shunt voltages, which has a label and no current.
    (folder / "in7_label").write_text("sum of shunt voltages\n")
    (folder / "in7_input").write_text("160\n")


def test_energy_counters_of_packages_and_memory_are_added(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "0", "package-0", 5_000_000), zone(tmp_path, "1", "package-1", 0)
    zone(tmp_path, "0:0", "core", 100)
    memory, whole = zone(tmp_path, "0:1", "dram", 7), zone(tmp_path, "2", "psys", 9)
    sensor = RaplSensor(tmp_path)
    sensor.start()
    (first / "energy_uj").write_text("8000000\n")
    (second / "energy_uj").write_text("500000\n")
    (memory / "energy_uj").write_text("250007\n")
    (whole / "energy_uj").write_text("900000000\n")
    assert sensor.stop() == pytest.approx(3.0 + 0.5 + 0.25)
    assert sensor.covers == "CPU packages and memory"


def test_an_energy_counter_that_came_round(tmp_path: Path) -> None:
    folder = zone(tmp_path, "0", "package-0", 9_000_000, largest=10_000_000)
    sensor = RaplSensor(tmp_path)
    sensor.start()
    (folder / "energy_uj").write_text("2000000\n")
    assert sensor.stop() == pytest.approx(3.0)
    assert sensor.covers == "CPU packages"


def test_a_counter_for_root_alone_says_how_to_open_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = zone(tmp_path, "0", "package-0", 1)
    read_text = Path.read_text

    def refuse(file: Path, *given: Any, **named: Any) -> str:
        if file == folder / "energy_uj":  # root, who may run the tests, may read what its mode forbids
            raise PermissionError(13, "Permission denied", str(file))
        return read_text(file, *given, **named)

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(SensorAbsentError, match=r"for root alone: run as root, or sudo chmod a\+r"):
        RaplSensor(tmp_path)


@pytest.mark.parametrize("energy", ["", "many"])
def test_a_counter_that_tells_no_number_is_absent(tmp_path: Path, energy: str) -> None:
    zone(tmp_path, "0", "package-0", energy)
    with pytest.raises(SensorAbsentError, match="cannot be read"):
        RaplSensor(tmp_path)


def test_no_counter(tmp_path: Path) -> None:
    with pytest.raises(SensorAbsentError, match="modprobe intel_rapl_msr"):
        RaplSensor(tmp_path)
    zone(tmp_path, "0", "psys", 1)
    with pytest.raises(SensorAbsentError, match="no intel-rapl package"):
        RaplSensor(tmp_path)


@pytest.mark.parametrize(
    ("chips", "watts", "covers"),
    [
        ([{"VDD_IN": (5000, 1400), "VDD_CPU_GPU_CV": (5000, 400), "VDD_SOC": (5000, 200)}], 7.0, "module (VDD_IN)"),
        (
            [
                {"VDD_GPU_SOC": (20000, 300), "VDD_CPU_CV": (20000, 100), "VIN_SYS_5V0": (5000, 800)},
                {"NC": (0, 0), "VDDQ_VDD2_1V8AO": (5000, 100)},
            ],
            12.0,
            "module (VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0)",
        ),
    ],
)
def test_power_monitors_as_files(
    tmp_path: Path, chips: list[dict[str, tuple[int, int]]], watts: float, covers: str
) -> None:
    for number, rails in enumerate(chips):
        ina(tmp_path, number, rails)
    sensor = ina3221_sensor(tmp_path)
    begin = time.perf_counter()
    sensor.start()
    time.sleep(0.12)
    joules = sensor.stop()
    assert 0.12 * watts <= joules <= watts * (time.perf_counter() - begin)
    assert sensor.covers == covers


def test_power_monitors_of_jetpack_4(tmp_path: Path) -> None:
    device = tmp_path / "bus" / "i2c" / "drivers" / "ina3221x" / "6-0040" / "iio:device0"
    device.mkdir(parents=True)
    for number, (name, milliwatts) in enumerate({"POM_5V_IN": 2500, "POM_5V_GPU": 100}.items()):
        (device / f"rail_name_{number}").write_text(f"{name}\n")
        (device / f"in_power{number}_input").write_text(f"{milliwatts}\n")
    sensor = ina3221_sensor(tmp_path)
    begin = time.perf_counter()
    sensor.start()
    time.sleep(0.05)
    assert 0.05 * 2.5 <= sensor.stop() <= 2.5 * (time.perf_counter() - begin)
    assert sensor.covers == "module (POM_5V_IN)"


def test_other_monitors_are_no_power_monitor_of_a_module(tmp_path: Path) -> None:
    folder = tmp_path / "class" / "hwmon" / "hwmon0"
    folder.mkdir(parents=True)
    (folder / "name").write_text("k10temp\n")
    with pytest.raises(SensorAbsentError, match="no such power monitor"):
        ina3221_sensor(tmp_path)


def test_watts_are_integrated() -> None:
    """Power that grows evenly from 0: by trapezoids exact, whatever the moments of the readings."""
    begin = time.perf_counter()
    sensor = WattSensor("ramp", "test", lambda: 10 * (time.perf_counter() - begin), period_seconds=0.01)
    sensor.start()
    time.sleep(0.2)
    joules = sensor.stop()
    seconds = time.perf_counter() - begin
    assert joules == pytest.approx(5 * seconds**2, rel=0.2)


def test_a_sensor_that_fails_on_the_way_gives_no_figure(tmp_path: Path) -> None:
    ina(tmp_path, 0, {"VDD_IN": (5000, 1000)})
    with PowerMeter("CPU", sysfs=tmp_path, tegrastats=str(tmp_path / "none")) as meter:
        (tmp_path / "class" / "hwmon" / "hwmon0" / "curr1_input").unlink()
    assert meter.use(frames=1) is None
    state = next(each for each in meter.sensors if each.name == "ina3221")
    assert not state.available
    assert "cannot be read" in state.reason


def test_the_meter_takes_the_best_sensor(tmp_path: Path) -> None:
    folder = zone(tmp_path, "0", "package-0", 0)
    ina(tmp_path, 0, {"VDD_IN": (5000, 1000)})
    with PowerMeter("CPU", sysfs=tmp_path, tegrastats=str(tmp_path / "none")) as meter:
        time.sleep(0.05)
        (folder / "energy_uj").write_text("4000000\n")
    use = meter.use(frames=8)
    assert use is not None
    assert (use.sensor, use.covers, use.joules, use.mj_per_frame, use.frames) == ("rapl", "CPU packages", 4.0, 500.0, 8)
    assert use.watts == pytest.approx(4.0 / use.seconds)
    assert use.seconds >= 0.05
    states = {each.name: each for each in meter.sensors}
    assert list(states) == ["nvml", "rapl", "tegrastats", "jtop", "ina3221"]
    assert [name for name, each in states.items() if each.available] == ["rapl", "ina3221"]
    assert all(bool(each.reason) != each.available for each in meter.sensors)
    assert "the work is not on one" in states["nvml"].reason


def test_without_sensors_the_work_goes_on(tmp_path: Path) -> None:
    with PowerMeter("CPU", sysfs=tmp_path, tegrastats=str(tmp_path / "none")) as meter:
        done = 1
    assert done
    assert meter.use(frames=1) is None
    assert len(meter.sensors) == 5
    assert all(each.reason and not each.available for each in meter.sensors)


def test_processors_are_not_measured_for_work_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone(tmp_path, "0", "package-0", 0)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with PowerMeter("cuda:0", sysfs=tmp_path, tegrastats=str(tmp_path / "none")) as meter:
        pass
    assert meter.use(frames=1) is None
    states = {each.name: each.reason for each in meter.sensors}
    assert "the work is on a GPU" in states["rapl"]
    assert "pip install nvidia-ml-py" in states["nvml"]


class NvmlDouble(ModuleType):
    """nvidia-ml-py with two GPUs, for machines without one: the names and units of its version 13."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, counter: bool = True) -> None:
        super().__init__("pynvml")
        self.millijoules, self.counter = 1000, counter

    def nvmlInit(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetHandleByPciBusId(self, address: str) -> int:  # noqa: N802
        if address not in ("0000:01:00.0", "0000:02:00.0"):
            raise self.NVMLError("Not Found")
        return int(address[6])

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        return 1000 * handle

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        if not self.counter:
            raise self.NVMLError("Not Supported")
        return self.millijoules * handle


def gpus(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    devices = tuple(
        cuda_probe.CudaDevice(index=index, name="GPU", compute_capability="9.0", memory_mb=1, pci_bus_id=address)
        for index, address in enumerate(addresses)
    )
    monkeypatch.setattr("postfilter.runtime.nvml_power.probe_cuda", lambda: cuda_probe.CudaProbe(devices=devices))


def test_the_energy_counter_of_the_gpu_that_cuda_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's first GPU is the second on the bus."""
    nvml = NvmlDouble()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    gpus(monkeypatch, "0000:02:00.0", "0000:01:00.0")
    sensor = nvml_sensor("cuda:0")
    sensor.start()
    nvml.millijoules = 4000
    assert sensor.stop() == pytest.approx(2 * 3.0)
    assert (sensor.name, sensor.covers) == ("nvml", "GPU board")


def test_a_gpu_without_a_counter_is_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", NvmlDouble(counter=False))
    gpus(monkeypatch, "0000:02:00.0")
    sensor = nvml_sensor("cuda:0")
    begin = time.perf_counter()
    sensor.start()
    time.sleep(0.1)
    assert 0.1 * 2.0 <= sensor.stop() <= 2.0 * (time.perf_counter() - begin)


def test_a_gpu_that_nvml_does_not_know_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", NvmlDouble())
    gpus(monkeypatch, "0000:03:00.0")
    with pytest.raises(SensorAbsentError, match=r"does not tell the power of cuda:0 \(Not Found\)"):
        nvml_sensor("cuda:0")


def test_the_double_has_the_names_of_the_real_package() -> None:
    pynvml = pytest.importorskip("pynvml")
    names = [name for name in vars(NvmlDouble) if name.lower().startswith("nvml")]
    assert len(names) == 5
    assert all(callable(getattr(pynvml, name)) for name in names)
    assert issubclass(pynvml.NVMLError, Exception)


def test_nvml_without_a_driver_is_absent() -> None:
    pytest.importorskip("pynvml")
    if cuda_probe.probe_cuda().devices:
        pytest.skip("this machine has an NVIDIA GPU")
    with pytest.raises(SensorAbsentError, match="NVML does not tell"):
        nvml_sensor("cuda:0")


@pytest.mark.gpu
def test_the_energy_of_a_real_gpu() -> None:
    pytest.importorskip("pynvml")
    sensor = nvml_sensor("cuda:0")
    sensor.start()
    time.sleep(1.0)
    assert 1.0 < sensor.stop() < 2000.0


def jtop_double(told: Any, monkeypatch: pytest.MonkeyPatch, *, answers: bool = True) -> list[str]:
    """jetson-stats 4, whose client is a thread that `start` begins; returns what was called."""
    calls: list[str] = []

    class Client:
        power = told

        def __init__(self, interval: float) -> None:
            assert interval > 0

        def start(self) -> None:
            calls.append("start")
            if not answers:
                raise OSError("The jtop.service is not active")

        def close(self) -> None:
            calls.append("close")

    module = ModuleType("jtop")
    module.jtop = Client  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jtop", module)
    return calls


@pytest.mark.parametrize(
    ("told", "watts", "covers"),
    [
        ({"rail": {"VDD_SOC": {"power": 900}}, "tot": {"power": 5000, "name": "VDD_IN"}}, 5.0, "module (VDD_IN)"),
        (
            {"rail": {name: {"power": 1000} for name in ("VDD_CPU_CV", "VDDQ_VDD2_1V8AO")}, "tot": {"power": 2000}},
            1.0,
            "module (VDD_CPU_CV)",
        ),
    ],
)
def test_jtop(told: Any, watts: float, covers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = jtop_double(told, monkeypatch)
    sensor = JtopSensor()
    assert calls == []
    begin = time.perf_counter()
    sensor.start()
    time.sleep(0.05)
    joules = sensor.stop()
    assert 0.05 * watts <= joules <= watts * (time.perf_counter() - begin)
    assert (sensor.covers, calls) == (covers, ["start", "close"])


@pytest.mark.parametrize("told", [{}, {"rail": {}, "tot": {"power": 0}}, ({}, {}), {"rail": {"a": 3}, "tot": {}}])
def test_a_jtop_that_tells_no_power_is_absent(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = jtop_double(told, monkeypatch)
    with pytest.raises(SensorAbsentError, match="jetson-stats"):
        JtopSensor().start()
    assert calls == ["start", "close"]


def test_a_jtop_whose_service_is_down_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    jtop_double({}, monkeypatch, answers=False)
    with pytest.raises(SensorAbsentError, match="systemctl start jtop"):
        JtopSensor().start()
