"""TensorRT's inspector in its several dialects."""

from __future__ import annotations

import json
from typing import Any

import pytest

from postfilter.runtime.backend import multiplies
from postfilter.runtime.trt_layers import parse_layers


def layer(**facts: Any) -> dict[str, Any]:
    return {"Name": "one", "LayerType": "CaskConvolution"} | facts


def tensors(text: str) -> list[dict[str, Any]]:
    return [{"Name": "x", "Dimensions": [1, 3, 8, 8], "Format/Datatype": text}]


@pytest.mark.parametrize(
    ("facts", "precision"),
    [
        (layer(Inputs=tensors("Float")), "fp32"),
        (layer(Inputs=tensors("Row major linear FP32")), "fp32"),
        (layer(Inputs=tensors("Half")), "fp16"),
        (layer(Inputs=tensors("Channel major FP16 format where channel % 8 == 0")), "fp16"),
        (layer(Inputs=tensors("BFloat16")), "bf16"),
        (layer(Inputs=tensors("Thirty-two wide channel vectorized row major Int8 format")), "int8"),
        (layer(Inputs=tensors("Float"), Weights={"Type": "Int8", "Count": 4}), "int8"),
        (layer(Inputs=tensors("N/A due to dynamic shapes"), Weights={"Type": "Half", "Count": 4}), "fp16"),
        (layer(Inputs=[], Outputs=tensors("Half")), "fp16"),
        (layer(LayerType="Reformat", Inputs=tensors("UInt8"), Outputs=tensors("Float")), "uint8"),
        (layer(Inputs=tensors("N/A due to dynamic shapes")), "unknown"),
    ],
)
def test_precision(facts: dict[str, Any], precision: str) -> None:
    (found,) = parse_layers(json.dumps({"Layers": [facts], "Bindings": ["samples", "filtered"]}))
    assert found.precision == precision


def test_names_times_and_nodes() -> None:
    layers = [
        layer(
            Name="conv0 + prelu0",
            ParameterType="Convolution",
            Inputs=tensors("Half"),
            Metadata="[ONNX Layer: conv0]\u001e[ONNX Layer: prelu0]",
        ),
        layer(Name="__myl_Cast", LayerType="kgen", Inputs=tensors("Float")),
    ]
    first, second = parse_layers(json.dumps({"Layers": layers, "I/O Tensors": []}), {"conv0 + prelu0": 1.5})
    assert (first.type, first.ms, first.made_of) == ("Convolution", 1.5, ("conv0", "prelu0"))
    assert (second.type, second.ms, second.made_of) == ("kgen", None, ())
    assert multiplies(first.type) and not multiplies(second.type)


def test_layers_told_by_name_alone() -> None:
    (found,) = parse_layers(json.dumps({"Layers": ["conv0 + prelu0"]}))
    assert (found.name, found.precision) == ("conv0 + prelu0", "unknown")
