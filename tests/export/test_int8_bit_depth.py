"""Int8 engines of one graph for 8 and for more bits, with and without the QP, with shuffles as the edge family has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from postfilter import models
from postfilter.export.further import declared_inputs
from postfilter.export.judged_frames import drawn_pairs
from postfilter.export.precision import lowered
from postfilter.export.preparation import prepare
from postfilter.models import ModelCard
from postfilter.models.registry import MODELS
from postfilter.models.sample_filter import SampleFilter
from postfilter.models.weights import save_weights
from postfilter.quantize import Ranges, calibration_crops
from postfilter.quantize.trial import observe
from postfilter.runtime import StreamItem, load_engine
from postfilter.runtime.further_inputs import pack


@pytest.mark.parametrize(("unshuffle", "inputs"), [(2, ("qp",)), (4, ())])
def test_int8_runs_at_every_bit_depth(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unshuffle: int, inputs: tuple[str, ...]
) -> None:
    card = ModelCard(
        name="small",
        architecture="postfilter.models.edge:Edge",
        layout="luma",
        residual=True,
        size_multiple=unshuffle,
        halo=4 * unshuffle - 1,
        summary="",
        inputs=inputs,
        settings={"width": 16, "depth": 3, "unshuffle": unshuffle},
    )
    monkeypatch.setitem(MODELS, "small", card)
    torch.manual_seed(5)
    save_weights(models.build("small"), tmp_path / "w.safetensors", residual=True)
    prepared = prepare("small", weights=tmp_path / "w.safetensors")
    declared = declared_inputs(card)
    frame = drawn_pairs("luma", seeds=(31,))[0].decoded[:, :, :96, :128]
    crops = calibration_crops([pack(frame, declared, {}, peak=255)], multiple=unshuffle, further=len(inputs))[-4:]
    extremes, _ = observe(prepared.graph, crops)
    steps = {value: high / 127 for value, (_, high) in extremes.items()}
    ranges = Ranges(model="small", weights_sha256="", steps=steps, source="", frames=1)
    graph = lowered(prepared.graph, "int8", ranges=ranges, backend="openvino")
    folder = tmp_path / "engine"
    folder.mkdir()
    prepared.assembly.write(graph, folder, precision="int8")
    reference = SampleFilter(prepared.assembly.model.network, residual=True)
    for bit_depth in (8, 10, 12):
        peak, scale = 2**bit_depth - 1, 2 ** (bit_depth - 8)
        # Of the further bits, that int8 does not see, the addition has to make something all the same.
        samples = frame.astype(np.uint8 if bit_depth == 8 else np.uint16) * scale + scale // 2
        told = {"qp": 37} if inputs else {}
        packed = torch.from_numpy(pack(samples, declared, told, peak=peak).astype(np.float32))
        with torch.inference_mode():
            wanted = reference(packed, torch.tensor(float(peak))).numpy()
        with load_engine(folder, bit_depth=bit_depth) as engine:
            filtered = engine(samples, inputs=told)
            (streamed,) = engine.stream([StreamItem(planes=samples, inputs=told)])
        np.testing.assert_array_equal(filtered, streamed)
        change = np.abs(wanted - samples).mean()
        assert change > 2 * scale, "hardly a filter"
        assert np.abs(filtered - wanted).mean() < 0.05 * change
