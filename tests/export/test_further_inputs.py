"""A model that reads the QP, from its card to a verified engine."""

from __future__ import annotations

import dataclasses
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from postfilter import models
from postfilter.export import QuantizeOptions, build_engine
from postfilter.export.calibration_frames import read_calibration_frames
from postfilter.export.further import declared_inputs
from postfilter.export.judged_frames import drawn_pairs
from postfilter.export.judgement import mean_gain_db
from postfilter.export.verify import reference_output
from postfilter.models.registry import MODELS
from postfilter.models.weights import save_weights
from postfilter.runtime import load_engine, profile_engine
from postfilter.runtime.further_inputs import FurtherInput

MACS_PER_PX = (2 * 8 * 25 + 8 * 4 * 9) / 4


class Steered(nn.Module):
    """Two convolutions at half the resolution."""

    def __init__(self, *, channels: int, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels + len(inputs), 8, 5, stride=2, padding=2)
        self.act = nn.PReLU()
        self.last = nn.Conv2d(8, 4 * channels, 3, padding=1)
        self.up = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.up(self.last(self.act(self.first(x))))
        return made


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Weights of a model `steered`, which is known while the test runs."""
    module = types.ModuleType("steered_network")
    module.Steered = Steered  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "steered_network", module)
    card = models.ModelCard(
        name="steered",
        architecture="steered_network:Steered",
        layout="luma",
        residual=True,
        size_multiple=2,
        halo=6,
        summary="A network for this test.",
        inputs=("qp",),
    )
    monkeypatch.setitem(MODELS, "steered", card)
    torch.manual_seed(3)
    network = models.build("steered")
    path = tmp_path / "steered.safetensors"
    save_weights(network, path, residual=True)
    return path


@pytest.mark.parametrize(
    ("backend", "precision", "size"),
    [
        ("openvino", "fp32", None),
        ("openvino", "fp16", (75, 51)),
        ("onnxruntime", "fp32", None),
        ("torch", "fp32", None),
    ],
)
def test_it_is_built_and_verified_with_its_qp(
    weights: Path, tmp_path: Path, backend: str, precision: str, size: tuple[int, int] | None
) -> None:
    built = build_engine(
        "steered", precision=precision, backend=backend, size=size, weights=weights, output=tmp_path / "engine"
    )
    assert built.manifest.inputs == (FurtherInput(name="qp", maximum=51, default=37),)
    assert built.manifest.input_channels == 2
    assert built.manifest.cost["kmac_per_px"] == pytest.approx(MACS_PER_PX / 1e3)
    model = models.load("steered", weights=weights)
    frame = np.random.default_rng(0).integers(0, 256, (1, 1, 51, 75), dtype=np.uint8)
    with load_engine(built.engine) as engine:
        outputs = [engine(frame, inputs={"qp": qp}) for qp in (10, 45)]
        for output, qp in zip(outputs, (10, 45), strict=True):
            difference = np.abs(output.astype(int) - reference_output(model, frame, {"qp": qp}))
            assert difference.max() <= 1
            assert np.count_nonzero(difference) < (0.001 if precision == "fp32" else 0.1) * difference.size
        assert np.count_nonzero(outputs[0] != outputs[1]) > 0.1 * frame.size
        np.testing.assert_array_equal(engine(frame), engine(frame, inputs={"qp": 37}))


def test_its_engine_can_be_measured(weights: Path, tmp_path: Path) -> None:
    build_engine("steered", weights=weights, output=tmp_path / "engine")
    profile = profile_engine(tmp_path / "engine", size=(96, 64), seconds=0.1, frames=3)
    multiplying = sum(layer.mmac or 0 for layer in profile.layers)
    # A rewrite may add taps that are zero.
    assert 1 <= multiplying / (MACS_PER_PX * 96 * 64 / 1e6) < 1.5


def test_an_int8_engine_is_calibrated_and_judged_with_its_qp(weights: Path, tmp_path: Path, clip_pair: Any) -> None:
    options = QuantizeOptions(calibrate=(clip_pair.coded,), force=True)  # random weights gain nothing
    built = build_engine("steered", precision="int8", weights=weights, output=tmp_path / "e", quantize_options=options)
    assert built.manifest.quantization["layers"] == ["first", "last"]
    model = models.load("steered", weights=weights)
    frame = np.random.default_rng(0).integers(0, 256, (1, 1, 51, 75), dtype=np.uint8)
    with load_engine(built.engine) as engine:
        for qp in (10, 45):
            wanted = reference_output(model, frame, {"qp": qp}).astype(int)
            difference = np.abs(engine(frame, inputs={"qp": qp}).astype(int) - wanted)
            assert difference.mean() < 0.1 * np.abs(wanted - frame).mean()


def test_calibration_frames_bring_the_qp_of_the_bitstream_or_run_blind(clip_pair: Any) -> None:
    declared = (FurtherInput(name="qp", maximum=51, default=0.0),)
    frames = read_calibration_frames(clip_pair.coded, "luma", limit=6, inputs=declared)
    assert {frame.shape for frame in frames} == {(1, 2, 128, 192)}
    told, blind = frames[::2], frames[1::2]
    assert all(not frame[:, 1].any() for frame in blind)
    # Coded at QP 37: that of P frames, a few less and more for I and B; five codes a step.
    assert all(abs(float(frame[:, 1].mean()) / 5 - 37) < 5 for frame in told)


def test_judged_frames_tell_the_qp_of_every_other_one() -> None:
    pairs = drawn_pairs("luma", inputs=("qp",))
    assert {pair.inputs["qp"] for pair in pairs[::2]} == {37, 42}
    assert all(not pair.inputs for pair in [*pairs[1::2], *drawn_pairs("luma")])
    seen: list[dict[str, Any]] = []

    def unchanged(frame: Any, **known: Any) -> Any:
        seen.append(known)
        return frame

    assert mean_gain_db(unchanged, pairs[:2]) == 0
    assert seen == [{"inputs": {"qp": 37}}, {}]


@pytest.mark.parametrize(("default", "blind"), [({}, 37), ({"qp": 0.0}, 0.0)])
def test_the_card_says_what_an_engine_takes_for_not_known(default: dict[str, float], blind: float) -> None:
    card = dataclasses.replace(models.card("edge-m"), defaults=default)
    assert declared_inputs(card) == (FurtherInput(name="qp", maximum=51, default=blind),)
