"""Lower precision in the graph itself, so that one file says the same to every backend."""

from __future__ import annotations

from postfilter.quantize.bf16 import refuse_bf16, to_bf16
from postfilter.quantize.calibration import calibrate, calibration_crops
from postfilter.quantize.edges import HEAD, NORMALISED, TAIL, convolutions, split_nodes
from postfilter.quantize.fp16 import to_fp16
from postfilter.quantize.int8 import to_int8
from postfilter.quantize.linter import check_quantized, lint
from postfilter.quantize.network_input import network_inputs
from postfilter.quantize.ranges import Ranges, read_ranges, recorded_ranges, write_ranges

__all__ = [
    "HEAD",
    "NORMALISED",
    "TAIL",
    "Ranges",
    "calibrate",
    "calibration_crops",
    "check_quantized",
    "convolutions",
    "lint",
    "network_inputs",
    "read_ranges",
    "recorded_ranges",
    "refuse_bf16",
    "split_nodes",
    "to_bf16",
    "to_fp16",
    "to_int8",
    "write_ranges",
]
