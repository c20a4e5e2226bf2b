"""What a TensorRT build decides by itself; the build where there is a GPU, and the error where there is none."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from postfilter.errors import DeviceError, InputError, UnknownNameError
from postfilter.export import PlanOptions, build_engine
from postfilter.export.plan_options import frame_range
from postfilter.export.timing_cache import read_timings, timings_path, write_timings
from postfilter.runtime import cuda_probe, load_engine
from postfilter.runtime.cuda_probe import CudaProbe
from postfilter.runtime.trt_target import Target

TARGET = Target(
    tensorrt="11.4.0", gpu="RTX 4090/x", compute_capability="8.9", platform="linux-x86_64", driver="", cuda="13.0"
)


def test_a_plan_for_one_size_takes_that_size_alone() -> None:
    frames = frame_range(channels=3, multiple=4, size=(853, 480), options=PlanOptions())
    assert frames.smallest == frames.usual == frames.largest == (1, 3, 480, 856)


def test_a_plan_for_any_size_takes_frames_standing_and_lying() -> None:
    frames = frame_range(channels=1, multiple=2, size=None, options=PlanOptions(smallest=(15, 9)))
    assert frames.smallest == (1, 1, 10, 16)
    assert frames.usual == (1, 1, 1080, 1920)
    assert frames.largest == (1, 1, 4096, 4096)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workspace_mb": 0}, "at least 1"),
        ({"effort": 6}, "from 0 to 5"),
        ({"largest": (1920, 800)}, "heights of the smallest, usual and largest"),
    ],
)
def test_options_that_contradict_themselves(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PlanOptions(**options)  # type: ignore[arg-type]


def test_an_unknown_compatibility() -> None:
    with pytest.raises(UnknownNameError, match="ampere_plus"):
        PlanOptions(compatibility="turing")  # type: ignore[arg-type]


def test_timings_come_back_as_they_were(tmp_path: Path) -> None:
    path = timings_path(tmp_path / "new", TARGET)
    assert path.name == "11.4.0-8.9-RTX_4090_x-linux_x86_64.timings"
    assert read_timings(path) == b""
    for blob in (b"", bytes(range(256)) * 9):
        write_timings(path, blob)
        assert read_timings(path) == blob
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", ["a bit", "cut", "emptied", "foreign", "another line"])
def test_damaged_timings_never_reach_tensorrt(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = timings_path(tmp_path, TARGET)
    write_timings(path, b"timings" * 99)
    content = bytearray(path.read_bytes())
    if damage == "a bit":
        content[-5] ^= 1
    changed = {"cut": content[:-3], "emptied": b"", "foreign": b"timings" * 99, "another line": b"x" + content[1:]}
    path.write_bytes(changed.get(damage, content))
    with caplog.at_level(logging.WARNING):
        assert read_timings(path) == b""
    assert "damaged" in caplog.text


def test_without_a_gpu_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_probe, "probe_cuda", lambda: CudaProbe(problem="no driver"))
    steps: list[str] = []
    with pytest.raises(DeviceError, match=r"needs an NVIDIA GPU, .* \(no driver\).*copy the engine's folder"):
        build_engine("fastarcnn-luma", backend="tensorrt", output=tmp_path / "engine", on_step=steps.append)
    assert steps == [] and list(tmp_path.iterdir()) == []


@pytest.mark.tensorrt
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("size", [None, (320, 240)])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_plan_on_a_real_gpu(precision: str, size: tuple[int, int] | None, tmp_path: Path) -> None:
    # Building verifies against the model, which is the test; what follows is what verifying does not do.
    result = build_engine(
        "fastarcnn-luma", precision=precision, backend="tensorrt", size=size, output=tmp_path / "engine"
    )
    assert result.manifest.precision_run == precision
    frames = [np.random.default_rng(k).integers(0, 256, (1, 1, 240, 320), dtype=np.uint8) for k in range(9)]
    with load_engine(result.engine) as engine, load_engine(result.engine, cuda_graphs=False) as plain:
        for streamed, frame in zip(engine.stream(iter(frames)), frames, strict=True):
            np.testing.assert_array_equal(streamed, plain(frame))
        np.testing.assert_array_equal(engine(np.concatenate(frames)), np.concatenate([plain(each) for each in frames]))
