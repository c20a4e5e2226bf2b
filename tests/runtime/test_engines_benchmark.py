"""benchmarks/engines.py on tiny engines and frames: that it measures what it says, and what its verdicts are."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from postfilter.errors import ArtefactError
from postfilter.runtime import ceiling

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "engines.py"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("engines_benchmark", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    small = (64, 48)
    for name in ("P480", "P720", "P1080"):
        monkeypatch.setattr(module, name, small)
    monkeypatch.setattr(module, "FPS_GOALS", {"fastarcnn-luma": (small, 1e9), "fastarcnn": (small, 0.1)})
    return module


def test_it_measures_every_engine_and_judges_every_goal(
    benchmark: ModuleType,
    make_engine: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for model, channels in (("fastarcnn", 3), ("fastarcnn-luma", 1)):
        for kind in ("plain-fp32", "fp16", "int8"):
            make_engine(f"{model}-{kind}", channels=channels, precision=kind.removeprefix("plain-"))
    arguments = ["engines.py", "--engines", str(tmp_path), "--rounds", "2", "--seconds", "0.05"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--json"])
    assert benchmark.main() == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert result["missing"] == {}
    assert set(result["rewritten"]["fps"]) == {"plain fp32", "fp16", "int8"}
    assert len(result["rewritten"]["ratios"]) == len(result["peak"]["shares"]) == 2
    assert result["peak"]["precision_run"] == ["int8"]
    assert 0 < result["peak"]["engine_tflops"] < result["peak"]["peak_tflops"]
    assert result["memory"]["fastarcnn"]["whole"]["piece"] is None
    assert all(each["call_ms"] > 0 and each["backend_ms"] > 0 for each in result["overhead"].values())
    met = {goal["name"]: goal["met"] for goal in result["goals"]}
    assert len(met) == 7
    assert not met["fastarcnn-luma 48p, frames a second"] and met["fastarcnn 48p, frames a second"]

    monkeypatch.setattr(sys, "argv", [*arguments, "--strict"])
    monkeypatch.setattr(benchmark, "in_turn", lambda works, rounds: {name: [work()] for name, work in works.items()})
    assert benchmark.main() == 1
    assert "fastarcnn-luma 48p, frames a second" in capsys.readouterr().out


def test_what_cannot_be_built_is_named_and_misses_its_goal(
    benchmark: ModuleType, make_engine: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(model: str, *, precision: str, output: Path, rewrite: bool) -> None:
        if precision == "int8":
            raise ArtefactError("keeps 80 % of the gain")
        make_engine(output.name, precision=precision)

    monkeypatch.setattr(benchmark, "build_engine", build)
    missing: dict[str, str] = {}
    engines = benchmark.engines_of("fastarcnn", tmp_path, missing)
    assert list(engines) == ["plain fp32", "fp16"]
    assert missing == {"fastarcnn-int8": "keeps 80 % of the gain"}
    assert benchmark.best_of(engines) == "fp16"
    assert benchmark.share_of_peak(engines, None) is None
    row = {"call_ms": 1.0, "peak_mb": 60.0}
    result = {
        "rewritten": {"ratio": 9.0},
        "peak": None,
        "speed": {model: {"best_fps": 30.0} for model in ("fastarcnn", "fastarcnn-luma")},
        "overhead": {"fp16": {"share": 0.01}},
        "memory": {"fastarcnn": {"limited": row}},
    }
    goals = {goal["name"]: (goal["reached"], goal["met"]) for goal in benchmark.goals(result)}
    assert goals["fastarcnn 480p int8, share of the machine's int8 peak"] == (None, False)
    assert goals["fastarcnn 480p, times as fast as the plain export in fp32"] == (9.0, True)
    assert goals["fastarcnn 1080p, MB above the idle process"] == (60.0, False)


def test_rounds_are_in_turn(benchmark: ModuleType) -> None:
    done: list[str] = []
    works = {name: lambda name=name: float(done.append(name) or len(done)) for name in "ab"}
    assert benchmark.in_turn(works, 2) == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
    assert done == ["a", "b", "a", "b"]


def test_the_rate_of_one_precision_is_measured_each_time_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([("int8", 1.0), ("int8", 3.0), ("int8", 2.0), ("int8", 1.5)])
    monkeypatch.setattr(ceiling, "_rate", lambda *_: next(rates))
    works = ceiling.WORKS[:2]
    assert ceiling.graph_tflops("openvino", "int8", device="CPU", works=works) == ("int8", 3.0)
    assert ceiling.graph_tflops("openvino", "int8", device="CPU", works=works) == ("int8", 2.0)
