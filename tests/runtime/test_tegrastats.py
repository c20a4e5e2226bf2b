"""Lines as the modules print them, from public logs, and a program that prints them in the place of the real one."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from postfilter.runtime.power_sensor import SensorAbsentError
from postfilter.runtime.tegrastats import Rail, TegraStats, TegrastatsSensor, parse_tegrastats

NANO_JP4 = (
    "RAM 1655/3956MB (lfb 311x4MB) SWAP 0/1978MB (cached 0MB) IRAM 0/252kB(lfb 252kB) "
    "CPU [14%@204,14%@204,10%@204,11%@204] EMC_FREQ 3%@1600 GR3D_FREQ 16%@76 APE 25 PLL@36C CPU@39C iwlwifi@44C "
    "PMIC@50C GPU@37C AO@47C thermal@38C POM_5V_IN 2247/2189 POM_5V_GPU 78/78 POM_5V_CPU 275/275"
)
AGX_XAVIER_JP4 = (
    "RAM 2336/15827MB (lfb 2948x4MB) CPU [2%@1190,1%@1190,0%@1190,0%@1190,off,off,off,off] EMC_FREQ 0% GR3D_FREQ 0% "
    "AO@25.5C GPU@26C Tboard@27C Tdiode@28.75C AUX@25C CPU@27C thermal@25.75C PMIC@100C GPU 465/465 CPU 310/310 "
    "SOC 1242/1242 CV 0/0 VDDRQ 0/0 SYS5V 1776/1776"
)
XAVIER_NX_JP5 = (
    "RAM 2690/6854MB (lfb 6x1MB) SWAP 479/3427MB (cached 3MB) CPU [3%@1904,7%@1906,1%@1905,0%@1907,off,off] "
    "EMC_FREQ 0%@1600 GR3D_FREQ 0%@[510] VIC_FREQ 601 APE 150 AUX@39C CPU@39.5C AO@37.5C GPU@37.5C PMIC@50C "
    "VDD_IN 5079mW/5083mW VDD_CPU_GPU_CV 696mW/696mW VDD_SOC 1104mW/1104mW"
)
AGX_ORIN_JP5 = (
    "11-08-2023 15:12:05 RAM 8146/30592MB (lfb 4x4MB) SWAP 0/15296MB (cached 0MB) "
    "CPU [1%@729,0%@729,0%@729,0%@729,off,off,off,off,1%@2201,0%@2201,0%@2201,0%@2201] EMC_FREQ 0%@2133 "
    "GR3D_FREQ 57%@[611,611] VIC_FREQ 729 APE 174 CV0@-256C CPU@46.25C Tboard@34C SOC2@42.687C Tdiode@35.75C "
    "SOC0@43.187C CV1@-256C GPU@41.5C tj@46.25C SOC1@42.5C CV2@-256C VDD_GPU_SOC 5139mW/5100mW "
    "VDD_CPU_CV 1191mW/1191mW VIN_SYS_5V0 4532mW/4500mW NC 0mW/0mW VDDQ_VDD2_1V8AO 704mW/704mW NC 0mW/0mW"
)
ORIN_NANO_JP6 = (
    "05-14-2024 10:31:22 RAM 3121/7620MB (lfb 2x4MB) SWAP 0/3810MB (cached 0MB) "
    "CPU [12%@1510,9%@1510,8%@1510,22%@1510,0%@729,0%@729] EMC_FREQ 4%@2133 GR3D_FREQ 98%@[624] NVDEC off NVJPG off "
    "NVJPG1 off VIC off OFA off APE 200 cpu@51.031C soc2@49.75C soc0@50.218C gpu@52.093C tj@52.093C soc1@50.437C "
    "VDD_IN 7701mW/7350mW VDD_CPU_GPU_CV 2868mW/2600mW VDD_SOC 1912mW/1900mW"
)
AGX_ORIN_JP7 = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201,10%@2201,4%@2201] EMC_FREQ 3%@3199 "
    "GR3D_FREQ 12%@[1300,1300] NVENC0 off PVA0_FREQ off APE 174 cpu@52.968C/52.968C gpu@47.625C/47.625C "
    "VDD_GPU_SOC 5139mW/5139mW/5139mW VDD_CPU_CV 3268mW/3268mW/3268mW VIN_SYS_5V0 5500mW/5500mW/5500mW"
)
THOR_JP7 = (
    "RAM 4722/125772MB (lfb 1x512kB) CPU [1%@972] EMC_FREQ 2%@1866 GR3D_FREQ @[1000,1000,1000] APE 150 "
    "tj@55.1C/55.1C VDD_GPU 2400mW/2400mW/2400mW VDD_CPU_SOC_MSS 6510mW/6510mW/6510mW "
    "VIN_SYS_5V0 6520mW/6520mW/6520mW VIN 23000mW/22900mW/23100mW"
)


@pytest.mark.parametrize(
    ("line", "watts"),
    [
        (NANO_JP4, 2.247),
        (AGX_XAVIER_JP4, 0.465 + 0.310 + 1.242 + 1.776),
        (XAVIER_NX_JP5, 5.079),
        # What VDDQ_VDD2_1V8AO takes comes through VIN_SYS_5V0.
        (AGX_ORIN_JP5, 5.139 + 1.191 + 4.532),
        (ORIN_NANO_JP6, 7.701),
        (AGX_ORIN_JP7, 5.139 + 3.268 + 5.500),
        (THOR_JP7, 23.0),
    ],
)
def test_the_power_of_the_module(line: str, watts: float) -> None:
    assert parse_tegrastats(line).watts == pytest.approx(watts)


def test_all_of_a_line() -> None:
    assert parse_tegrastats(XAVIER_NX_JP5) == TegraStats(
        ram_used_mb=2690,
        ram_total_mb=6854,
        swap_used_mb=479,
        swap_total_mb=3427,
        cpu_percent=(3, 7, 1, 0, None, None),
        gpu_percent=0,
        memory_controller_percent=0,
        temperatures_c={"aux": 39.0, "cpu": 39.5, "ao": 37.5, "gpu": 37.5, "pmic": 50.0},
        rails={
            "VDD_IN": Rail(now_mw=5079, average_mw=5083),
            "VDD_CPU_GPU_CV": Rail(now_mw=696, average_mw=696),
            "VDD_SOC": Rail(now_mw=1104, average_mw=1104),
        },
    )


@pytest.mark.parametrize(
    ("line", "gpu", "memory", "degrees"),
    [
        (NANO_JP4, 16, 3, 37.0),
        (AGX_ORIN_JP5, 57, 0, 41.5),
        (ORIN_NANO_JP6, 98, 4, 52.093),
        (AGX_ORIN_JP7, 12, 3, 47.625),
        (THOR_JP7, None, 2, None),
    ],
)
def test_the_other_figures(line: str, gpu: int | None, memory: int, degrees: float | None) -> None:
    stats = parse_tegrastats(line)
    assert (stats.gpu_percent, stats.memory_controller_percent) == (gpu, memory)
    assert stats.temperatures_c.get("gpu") == degrees


@pytest.mark.parametrize("line", ["", "tegrastats: error", "RAM 1/", "CPU [", "VDD_IN 12", "VDD_IN a/b VDD_SOC 3mW"])
def test_what_is_missing_or_garbled_is_left_out(line: str) -> None:
    stats = parse_tegrastats(line)
    assert stats == TegraStats()
    assert stats.watts is None


def test_one_damaged_field_leaves_the_others() -> None:
    stats = parse_tegrastats("RAM 12/MB CPU [5%@1,x,off] VDD_IN 4000mW/4000mW VDD_SOC ???/???")
    assert (stats.ram_used_mb, stats.cpu_percent, stats.watts) == (None, (5, None, None), 4.0)


def program(folder: Path, body: str) -> str:
    """A tegrastats of our own."""
    file = folder / "tegrastats"
    file.write_text(f"#!{sys.executable}\nimport sys, time\n{body}\n")
    file.chmod(0o755)
    return str(file)


def test_the_energy_while_it_runs(tmp_path: Path) -> None:
    """It takes the interval, and its readings of 7.701 W are those of the time between start and stop."""
    lines = f"""
assert sys.argv[1] == "--interval" and int(sys.argv[2]) >= 20, sys.argv
while True:
    print({ORIN_NANO_JP6!r}, flush=True)
    time.sleep(0.02)
"""
    sensor = TegrastatsSensor(program(tmp_path, lines))
    sensor.start()
    begin = time.perf_counter()
    time.sleep(0.2)
    joules = sensor.stop()
    assert joules == pytest.approx(7.701 * (time.perf_counter() - begin), rel=0.5)
    assert joules >= 7.701 * 0.2
    assert sensor.covers == "module (VDD_IN)"


def test_readings_are_averaged(tmp_path: Path) -> None:
    lines = """
for mw in (9000, 1000, 3000, 1000, 3000):
    print(f"VDD_IN {mw}mW/{mw}mW", flush=True)
    time.sleep(0.05)
time.sleep(60)
"""
    sensor = TegrastatsSensor(program(tmp_path, lines))
    sensor.start()
    begin = time.perf_counter()
    time.sleep(0.8)
    joules = sensor.stop()
    # The first reading came before the start, so it does not count.
    assert joules / (time.perf_counter() - begin) == pytest.approx(2.0, rel=0.2)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("print('RAM 1/2MB')", "tells no power; the last it said: RAM 1/2MB"),
        ("pass", "the last it said: nothing"),
        ("sys.exit('needs root')", "needs root"),
    ],
)
def test_a_program_that_tells_no_power_is_absent(tmp_path: Path, body: str, told: str) -> None:
    sensor = TegrastatsSensor(program(tmp_path, body))
    with pytest.raises(SensorAbsentError, match=told):
        sensor.start()


def test_no_program_is_absent(tmp_path: Path) -> None:
    with pytest.raises(SensorAbsentError, match=r"no program .*tegrastats"):
        TegrastatsSensor(str(tmp_path / "tegrastats"))
