from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from postfilter.errors import ArtefactError
from postfilter.runtime import PeakMemory, measure_memory
from postfilter.runtime import memory as module

MIB = 2**20


def use(megabytes: int, *, hold_seconds: float = 0.0) -> None:
    block = np.ones(megabytes * MIB, np.uint8)
    time.sleep(hold_seconds)
    del block


def test_memory_that_is_freed_again_counts_and_what_was_before_does_not() -> None:
    use(200)
    with PeakMemory() as memory:
        use(96)
    assert memory.peak_mb == pytest.approx(96, abs=8)
    assert memory.idle_mb > 20


def test_without_the_kernels_record_memory_is_sampled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_CLEAR_REFS", tmp_path / "absent" / "clear_refs")
    with PeakMemory() as memory:
        use(96, hold_seconds=0.1)
    assert not memory.exact
    assert memory.peak_mb == pytest.approx(96, abs=8)


def test_larger_frames_take_more(make_engine: Callable[..., Path]) -> None:
    folder = make_engine()
    small = measure_memory(folder, width=64, height=64, frames=1)
    large = measure_memory(folder, width=1920, height=1080, frames=1)
    # Eight channels at half the resolution in float32 and the frame itself, twice over for input and output of a layer.
    least = (8 * 4 / 4 + 1 * 4) * 1920 * 1080 / MIB
    assert large.peak_mb > small.peak_mb + least
    assert large.ms > 0


def test_an_engine_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no engine"):
        measure_memory(tmp_path, width=64, height=64)
