"""What a plan can run on, decided without TensorRT and without a GPU."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from postfilter.runtime.trt_target import Target, refusal

HERE = Target(
    tensorrt="10.3.0", gpu="Orin", compute_capability="8.7", platform="linux-aarch64", driver="540.4", cuda="12.6"
)
BUILT = HERE.as_json() | {"compatibility": "none", "version_compatible": False}


@pytest.mark.parametrize(
    ("built_for", "here"),
    [
        ({}, {}),
        ({"driver": "535.1", "cuda": "12.2"}, {}),
        ({"tensorrt": "10.3.0.26"}, {}),
        ({"tensorrt": "10.3.0.post1"}, {}),
        ({"version_compatible": True}, {"tensorrt": "10.16.1"}),
        ({"compatibility": "same_compute_capability"}, {"gpu": "Orin Nano"}),
        ({"compatibility": "ampere_plus"}, {"gpu": "RTX 5090", "compute_capability": "12.0"}),
        ({"compatibility": "ampere_plus"}, {"gpu": "A100", "compute_capability": "8.0"}),
    ],
)
def test_what_can_run(built_for: dict[str, Any], here: dict[str, str]) -> None:
    assert refusal(BUILT | built_for, dataclasses.replace(HERE, **here)) is None


@pytest.mark.parametrize(
    ("built_for", "here", "reason"),
    [
        ({}, {"tensorrt": "10.4.0"}, "built with TensorRT 10.3.0, and this machine has 10.4.0"),
        ({"tensorrt": "10.3.0.26"}, {"tensorrt": "10.3.0.30"}, "built with TensorRT"),
        ({"version_compatible": True}, {"tensorrt": "10.2.9"}, "newer ones of the same major"),
        ({"version_compatible": True}, {"tensorrt": "11.4.0"}, "newer ones of the same major"),
        ({}, {"gpu": "Orin Nano"}, "for the model Orin"),
        ({}, {"compute_capability": "8.6"}, "compute capability 8.6"),
        ({"compatibility": "same_compute_capability"}, {"compute_capability": "8.6"}, "compute capability 8.6"),
        ({"compatibility": "ampere_plus"}, {"compute_capability": "7.5"}, "8.0 and above"),
        ({"compatibility": "ampere_plus"}, {"platform": "linux-x86_64"}, "this is linux-x86_64"),
        ({"tensorrt": ""}, {}, "does not tell tensorrt"),
    ],
)
def test_what_cannot(built_for: dict[str, Any], here: dict[str, str], reason: str) -> None:
    assert reason in (refusal(BUILT | built_for, dataclasses.replace(HERE, **here)) or "")


def test_a_manifest_that_tells_nothing() -> None:
    assert "does not tell tensorrt, gpu, compute_capability, platform" in (refusal({}, HERE) or "")
