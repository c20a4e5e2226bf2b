"""Damaged at random: a few variants here; `fuzz_streams.py` runs thousands."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def fuzzer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_streams", Path(__file__).parent / "fuzz_streams.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_randomly_damaged_clips_are_filtered_or_refused(
    fuzzer: ModuleType, engine_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The worker is a new process, which imports the fuzzer by its name.
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    clips, work = tmp_path / "clips", tmp_path / "work"
    clips.mkdir()
    work.mkdir()
    finds, outcomes = fuzzer.fuzz(fuzzer.make_clips(clips), work, engine_folders["same-luma"], variants=36, seed=1)
    assert finds == []
    assert sum(outcomes.values()) == 36
    assert outcomes["filtered"] and outcomes["filtered, damaged"] and outcomes["refused to read"]
