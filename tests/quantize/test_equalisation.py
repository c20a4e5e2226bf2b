"""Channels scaled against the weights that read them: the network stays what it was, and int8 comes nearer to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from postfilter import models
from postfilter.export.graph import to_graph
from postfilter.export.passes.rewriting import rewrite
from postfilter.quantize import calibrate, calibration, calibration_crops, read_ranges, to_int8, write_ranges
from postfilter.quantize.equalisation import balanced_values, equalised, scales_of
from postfilter.quantize.trial import largest_by_channel

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def uneven() -> tuple[onnx.ModelProto, Any]:
    """An edge network some of whose channels are a hundred times as large as others."""
    torch.manual_seed(3)
    network = models.build("edge-m").eval().requires_grad_(False)
    for before, after in zip(network.layers, network.layers[1:], strict=False):
        factors = torch.logspace(-1, 1, before.weight.shape[0])[torch.randperm(before.weight.shape[0])]
        before.weight.mul_(factors[:, None, None, None])
        before.bias.uniform_(-0.02, 0.02).mul_(factors)
        after.weight.div_(factors[None, :, None, None])
    card = models.card("edge-m")
    graph, _ = rewrite(to_graph(models.Model(card=card, network=network, weights_sha256="0" * 64)))
    return graph, calibration_crops([frame()], further=1)


def frame() -> Any:
    rng = np.random.default_rng(5)
    picture = np.repeat(np.repeat(rng.integers(40, 200, (1, 1, 12, 12)), 16, axis=2), 16, axis=3)
    noisy = (picture + rng.normal(0, 6, picture.shape)).clip(0, 255).astype(np.uint8)
    return np.concatenate([noisy, np.full_like(noisy, 185)], axis=1)


def output(graph: onnx.ModelProto) -> Any:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {graph.graph.input[0].name: frame()})[0].astype(int)


def test_scaling_changes_nothing_but_the_channels(uneven: Any) -> None:
    graph, crops = uneven
    values = balanced_values(graph)
    assert len(values) == 5
    scales = scales_of(largest_by_channel(graph, crops, values), strength=1.0)
    changed = equalised(graph, scales)
    assert np.abs(output(changed) - output(graph)).max() <= 1  # a sum next to a half
    before, after = (largest_by_channel(each, crops, values) for each in (graph, changed))
    for value in values:
        heard = before[value] > before[value].max() * 0.002
        assert np.ptp(after[value][heard]) < 1e-3 * after[value].max()
    assert equalised(graph, {}) is graph
    with pytest.raises(ValueError, match="has no value x"):
        equalised(graph, {"x": [1.0]})
    with pytest.raises(ValueError, match="16 channels"):
        equalised(graph, {values[0]: [1.0, 2.0]})


def test_calibration_finds_scales_that_bring_int8_nearer(
    uneven: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, crops = uneven
    about: dict[str, Any] = {"model": "edge-m", "weights_sha256": "0" * 64, "source": "drawn", "frames": 1}
    ranges = calibrate(graph, crops, **about)
    assert set(ranges.scales) == set(balanced_values(graph))
    monkeypatch.setattr(calibration, "_STRENGTHS", (0.0,))
    plain = calibrate(graph, crops, **about)
    assert plain.scales == {} and ranges.fidelity_db > plain.fidelity_db + 2
    assert np.abs(output(to_int8(graph, ranges)) - output(graph)).max() <= 1
    write_ranges(ranges, tmp_path / "ranges.json")
    assert read_ranges(tmp_path / "ranges.json") == ranges


def test_a_prelu_of_one_slope_passes_factors_on() -> None:
    model = models.load("fastarcnn-luma")
    graph, _ = rewrite(to_graph(model))
    assert balanced_values(graph)
