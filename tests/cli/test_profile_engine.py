from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from postfilter.cli.profile_engine import COMMAND
from postfilter.runtime import profile_engine
from postfilter.runtime.ceiling import compute_tflops
from postfilter.runtime.ceiling_graphs import WORKS
from postfilter.runtime.power import PowerUse, SensorState

SLIDES = {
    ("arcnn", "480p30"): (117734, "1.22", "602.94"),
    ("arcnn", "720p30"): (117734, "3.25", "1607.09"),
    ("arcnn", "1080p30"): (117734, "7.32", "3615.39"),
    ("fastarcnn", "480p30"): (85575, "0.34", "265.32"),
    ("fastarcnn", "720p30"): (85575, "0.91", "706.97"),
    ("fastarcnn", "1080p30"): (85575, "2.06", "1590.27"),
}


@pytest.fixture(autouse=True)
def measured_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's rate from one kind of work and a tenth of a second."""
    brief = partial(compute_tflops, seconds=0.1, works=WORKS[1:2])
    monkeypatch.setattr("postfilter.runtime.profile.compute_tflops", brief)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`run(*arguments)` -> (exit status, stdout, stderr) of profile-engine, as typed."""

    def command(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["profile-engine", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "120")
        try:
            status = COMMAND.main()
        except SystemExit as left:
            status = int(left.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return command


def test_the_slides_rows_to_the_digit(run: Any) -> None:
    status, out, _ = run("--slides", "--no-measure", "--json")
    rows = json.loads(out)["rows"]
    assert status == 0
    got = {
        (row["model"], row["input"]): (row["params"], f"{round(row['tflops'], 3):.2f}", f"{row['mem_mb']:.2f}")
        for row in rows
    }
    assert got == SLIDES
    # Twice the multiplications, at 30 fps; the transposed convolution's true ones are fewer than the slides count.
    fast = {row["input"]: row for row in rows if row["model"] == "fastarcnn"}
    assert all(row["true_tflops"] / 2 < row["tflops"] for row in fast.values())
    assert all(row["measured_memory_mb"] is None for row in rows)


def test_the_slides_table_reads_like_the_slides(run: Any) -> None:
    status, out, _ = run("--slides", "--no-measure")
    assert status == 0
    for params, tflops, memory in SLIDES.values():
        assert all(text in out for text in (f"{params:,}", f" {tflops} ", f" {memory} "))


@pytest.mark.parametrize("duration", [("--frames", "3"), ("--seconds", "0.2")])
def test_an_engine_is_measured(run: Any, luma_engine: Path, duration: tuple[str, str]) -> None:
    status, out, err = run(luma_engine, "--size", "66x50", "--threads", "1", *duration, "--json")
    assert status == 0, err
    got = json.loads(out)
    assert {"latency_ms", "fps", "tflops", "peak_memory_mb", "layers", "limit"} <= got.keys()
    assert set(got["latency_ms"]) == {"p50", "p95", "p99"}
    assert {"compute_tflops", "bandwidth_gbs", "bound_ms", "share", "bound"} <= set(got["limit"])
    assert {"power", "power_sensors", "overhead_ms", "overhead_share"} <= got.keys()
    assert all({"name", "type", "precision", "ms", "mmac", "tflops", "share"} <= set(layer) for layer in got["layers"])
    assert (got["width"], got["height"], got["threads"]) == (66, 50, 1)
    # A 3x3 kernel of one channel: nine multiplications a sample.
    assert sum(layer["mmac"] for layer in got["layers"]) == pytest.approx(66 * 50 * 9 / 1e6)


def test_an_engines_figures_for_a_person(run: Any, luma_engine: Path) -> None:
    status, out, err = run(luma_engine, "--size", "66x50", "--frames", "3")
    assert status == 0, err
    assert all(word in out for word in ("66x50", "latency", "fps", "Slowest layers", "Convolution", "fp32"))
    assert re.search(
        r"this engine runs at \d+ % of what this machine can do in fp32; bound: (compute|bandwidth)\n", out
    )
    assert re.search(r"power +(\d|not measured)", out)


@pytest.mark.parametrize("measured", [True, False])
def test_power_and_an_unknown_limit_for_a_person(
    run: Any, luma_engine: Path, monkeypatch: pytest.MonkeyPatch, measured: bool
) -> None:
    profile = profile_engine(luma_engine, size=(66, 50), frames=3)
    use = PowerUse(sensor="rapl", covers="CPU packages", joules=4, seconds=2, watts=2, frames=10, mj_per_frame=400)
    absent = SensorState(name="jtop", available=False, reason="jetson-stats is not installed")
    limit = replace(profile.limit, share=None)
    told = replace(profile, power=use if measured else None, power_sensors=(absent,), limit=limit)
    monkeypatch.setattr("postfilter.runtime.profile.profile_engine", lambda *_, **__: told)
    status, out, err = run(luma_engine)
    assert status == 0, err
    assert "not known: no rate could be measured" in out
    assert ("2.0 W, 400.0 mJ a frame (CPU packages, by rapl, idle power included)" in out) == measured
    assert ("jtop: jetson-stats is not installed" in out) != measured


def test_a_damaged_engine_is_one_line(run: Any, luma_engine: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(luma_engine, tmp_path / "damaged"))
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"x")
    status, out, err = run(folder, "--json")
    assert (status, out) == (1, "")
    assert "profile-engine: error: the engine" in err and "is damaged" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--slides"),
        (("engine", "--slides"), "one of the two"),
        (("--slides", "--fp16"), "--fp16"),
        (("--slides", "--size", "480p"), "--size"),
        (("engine", "--no-measure"), "--no-measure"),
        (("engine", "--frames", "0"), "--frames"),
        (("no-engine", "--fp16"), "neither a model"),
        (("no-engine",), "neither a model"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Any, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    status, out, err = run(*arguments)
    assert status in (1, 2)
    assert out == ""
    assert told in " ".join(err.split())
