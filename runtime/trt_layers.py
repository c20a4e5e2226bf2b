"""The layers of a TensorRT plan, from what its inspector tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from postfilter.runtime.backend import Layer, multiplies

__all__ = ["parse_layers"]

_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_PRECISIONS = (("fp32", r"fp32|float32|float\b"), ("bf16", r"bf16|bfloat16"), ("fp16", r"fp16|half|float16"))
_INT8 = r"u?int8"


def parse_layers(report: str, times_ms: Mapping[str, float] | None = None) -> list[Layer]:
    """Return the layers in the order in which they run.

    Args:
        report: the JSON of `EngineInspector.get_engine_information`, with detailed profiling verbosity; its words
            differ between versions: a type may read `Half` or `Channel major FP16 format where channel % 8 == 0`.
        times_ms: milliseconds of each layer by its name, as a profiler was told them.
    """
    told = json.loads(report)
    layers = told.get("Layers", []) if isinstance(told, dict) else []
    times = times_ms or {}
    found = []
    for each in layers:
        # Without detailed verbosity a layer is its name alone.
        facts = each if isinstance(each, dict) else {"Name": str(each)}
        name = str(facts.get("Name", ""))
        kind = _kind(facts)
        found.append(
            Layer(
                name=name,
                type=kind,
                precision=_precision(facts, kind),
                ms=times.get(name),
                made_of=tuple(dict.fromkeys(_NODE.findall(str(facts.get("Metadata", ""))))),
            )
        )
    return found


def _kind(facts: Mapping[str, Any]) -> str:
    """`Convolution` rather than `CaskConvolution` or `CaskGemmConvolution`: what was computed, not by which family."""
    kind = str(facts.get("ParameterType") or facts.get("LayerType") or "unknown")
    return str(facts.get("LayerType", kind)) if kind == "unknown" else kind


def _precision(facts: Mapping[str, Any], kind: str) -> str:
    """The type of what is multiplied: of the weights where they are told, else of the input, else of the output.

    int8 is said of arithmetic alone; other layers that read bytes have that type, which is no precision of ours.
    """
    for text in _type_words(facts):
        for precision, words in _PRECISIONS:
            if re.search(words, text):
                return precision
        if match := re.search(_INT8, text):
            return "int8" if multiplies(kind) else match[0]
    return "unknown"


def _type_words(facts: Mapping[str, Any]) -> Iterator[str]:
    weights = facts.get("Weights")
    if isinstance(weights, dict):
        yield str(weights.get("Type", "")).lower()
    for side in ("Inputs", "Outputs"):
        for tensor in facts.get(side) or ():
            if isinstance(tensor, dict):
                yield str(tensor.get("Format/Datatype", tensor.get("Datatype", ""))).lower()
