"""Int8 engines of the shipped models, made, judged and refused for real, on OpenVINO."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from postfilter.errors import InputError, VerificationError, WeightsError
from postfilter.export import QuantizeOptions, build_engine, request_parts
from postfilter.export.judgement import KEPT_AT_LEAST
from postfilter.export.preparation import prepare
from postfilter.export.quantization import Quantizer, Sensitivity, quantized, ranges_for
from postfilter.quantize import convolutions, recorded_ranges
from postfilter.runtime import load_engine, read_manifest

MODEL = "fastarcnn-luma"


@pytest.fixture(scope="module")
def prepared():
    return prepare(MODEL)


@pytest.fixture(scope="module")
def quantizer(prepared):
    return Quantizer(prepared=prepared, options=QuantizeOptions())


def test_the_shipped_ranges_keep_enough_of_the_gain(quantizer):
    judgement = quantizer.judge("int8")
    assert judgement.kept >= KEPT_AT_LEAST
    assert judgement.higher == "fp16"
    assert judgement.ms > 0 and judgement.higher_ms > 0


def test_spoilt_ranges_are_put_right_layer_by_layer_or_refused(quantizer, monkeypatch):
    # The steps of one value a hundred times too large: its layer alone is to blame.
    spoilt = dataclasses.replace(quantizer.ranges, steps={**quantizer.ranges.steps})
    spoilt.steps["base.3"] *= 100
    monkeypatch.setattr(quantizer, "ranges", spoilt)
    assert quantizer.judge("int8").kept < KEPT_AT_LEAST
    found = quantizer.sensitivities()
    assert [each.layer for each in found] == quantizer.layers
    assert min(found, key=lambda each: each.kept).layer == "base.4"  # which reads base.3
    left = quantizer.choose_layers(found)
    assert "base.4" not in left
    assert quantizer.judge("int8", left).kept >= KEPT_AT_LEAST


def test_layers_that_cost_most_for_what_they_save_go_back_first(quantizer):
    kept_of = {"base.0": 0.99, "base.2": 0.98, "base.4": 0.9}
    found = [
        Sensitivity(layer=name, delta_psnr=0.0, kept=kept_of.get(name, 1.0), saved_ms=10.0 if name == "base.4" else 0.1)
        for name in quantizer.layers
    ]
    # All in int8 keep enough already, so nothing goes back, whatever the rows say.
    assert quantizer.choose_layers(found) == tuple(quantizer.layers)


def test_an_engine_of_a_fixed_size_is_judged_on_frames_of_any():
    small = prepare(MODEL, size=(64, 48))
    graph, told = quantized(small, QuantizeOptions(force=True))
    assert [each.dim_value for each in graph.graph.input[0].type.tensor_type.shape.dim][2:] == [48, 64]
    assert (told["judgement"]["width"], told["judgement"]["height"]) == (64, 48)
    assert told["layers"] == convolutions(small.graph)


def test_unknown_layers_are_told(prepared):
    with pytest.raises(InputError, match=r"no layer nosuch; there are base\.0"):
        Quantizer(prepared=prepared, options=QuantizeOptions(layers=("nosuch", "base.0")))


def test_weights_without_ranges_need_material(prepared):
    other = dataclasses.replace(prepared.assembly.model, weights_sha256="0" * 64)
    with pytest.raises(WeightsError, match="--calibrate"):
        ranges_for(other, prepared.graph, ())


def test_calibrating_on_a_clip_gives_ranges_of_these_weights(prepared, clip_pair):
    ranges = ranges_for(prepared.assembly.model, prepared.graph, (clip_pair.coded,))
    recorded = recorded_ranges(prepared.assembly.model.card, weights_sha256=prepared.assembly.model.weights_sha256)
    assert ranges.steps.keys() == recorded.steps.keys()
    assert ranges.weights_sha256 == prepared.assembly.model.weights_sha256
    assert clip_pair.coded.name in ranges.source


def test_an_int8_engine_is_written_with_its_judgement(tmp_path):
    # Forced: on a machine that is busy with other things its time may be anything.
    result = build_engine(MODEL, precision="int8", output=tmp_path / "e", quantize_options=QuantizeOptions(force=True))
    manifest = read_manifest(result.engine)
    assert manifest.precision == "int8"
    told = manifest.quantization
    assert told["judgement"]["kept"] >= KEPT_AT_LEAST
    assert set(told["layers"]) == {"base.0", "base.2", "base.4", "base.6", "last.subpixel"}
    assert json.loads(json.dumps(told)) == told
    if manifest.precision_run == "int8":  # where the processor multiplies bytes
        assert [manifest.precision_by_layer[name] for name in told["layers"]] == ["int8"] * 5
    with load_engine(result.engine) as engine:
        for level in (0, 16, 235, 255):
            flat = np.full((1, 1, 50, 70), level, np.uint8)
            inner = engine(flat)[..., 20:-20, 20:-20].astype(int)
            assert np.abs(inner - level).max() <= 2
        noise = np.random.default_rng(0).integers(0, 256, (1, 1, 101, 131), dtype=np.uint8)
        whole = engine(noise)
    with load_engine(result.engine, piece=(80, 64)) as engine:
        difference = np.abs(engine(noise).astype(int) - whole)
    # Sums of whole numbers do not depend on their order; without byte products the sums are rounded.
    assert difference.max() <= (0 if manifest.precision_run == "int8" else 1)


def test_where_no_layer_could_stay_in_int8_the_engine_is_refused(prepared, monkeypatch):
    # A share that no choice of layers reaches: an engine without any layer in int8 is not to pass for one.
    monkeypatch.setattr("postfilter.export.judgement.KEPT_AT_LEAST", 1.5)
    monkeypatch.setattr("postfilter.export.judgement._SECONDS", 0.0)
    with pytest.raises(VerificationError, match="refused: it keeps"):
        quantized(prepared, QuantizeOptions())


def test_an_engine_that_keeps_too_little_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("postfilter.export.judgement.KEPT_AT_LEAST", 1.5)
    with pytest.raises(VerificationError, match=r"refused: it keeps .* at least 150%"):
        build_engine(
            MODEL,
            precision="int8",
            output=tmp_path / "e",
            quantize_options=QuantizeOptions(layers=("base.4",)),
        )
    assert list(tmp_path.iterdir()) == []


def test_what_is_calibrated_on_is_part_of_the_key(tmp_path, clip_pair):
    def parts(**options: object) -> dict[str, object]:
        return request_parts(MODEL, precision="int8", backend="openvino", quantize_options=QuantizeOptions(**options))

    plain, on_clip = parts(), parts(calibrate=(clip_pair.coded,))
    assert plain["options"] != on_clip["options"]
    assert parts(layers=("base.4",))["options"] != plain["options"]
    assert parts(force=True)["options"] != plain["options"]
    copy = tmp_path / "renamed.mp4"
    copy.write_bytes(clip_pair.coded.read_bytes())
    assert parts(calibrate=(copy,)) == on_clip  # content counts, not the name
    with pytest.raises(InputError, match=r"absent\.mkv"):
        parts(calibrate=(tmp_path / "absent.mkv",))


@pytest.mark.parametrize(("backend", "precision"), [("torch", "int8"), ("onnxruntime", "bf16")])
def test_precisions_that_a_backend_does_not_have_are_refused_at_once(backend, precision, tmp_path):
    with pytest.raises(Exception, match=r"openvino") as raised:
        build_engine(MODEL, precision=precision, backend=backend, output=tmp_path / "e")
    assert "Traceback" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
