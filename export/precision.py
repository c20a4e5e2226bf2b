"""The precisions an engine can be asked for, and how a graph gets them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

from postfilter.errors import InputError, UnknownNameError
from postfilter.quantize import check_quantized, refuse_bf16, to_bf16, to_fp16, to_int8
from postfilter.runtime.machine import byte_sums_saturate

if TYPE_CHECKING:
    import onnx

    from postfilter.quantize import Ranges

__all__ = ["HIGHER", "PRECISIONS", "Precision", "check_precision", "lowered", "weight_bits"]

Precision = Literal["fp32", "fp16", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8")

HIGHER: dict[Precision, Precision] = {"int8": "fp16", "bf16": "fp32", "fp16": "fp32"}
"""The next higher precision, which a lower one has to be faster than; a CPU may run fp16 as bf16."""

_UNSIGNED = ("openvino",)
"""Backends that take uint8 values between layers. ONNX Runtime does too, but lets sums of uint8 products saturate on
processors without VNNI."""


def check_precision(precision: str, backend: str, *, device: str) -> None:
    """Refuse a precision that does not exist, or not on this backend.

    Raises:
        UnknownNameError: no such precision.
        InputError: PyTorch in int8: its engines are programs, not graphs that could be quantized.
        DeviceError: bf16 on a device that has none.
    """
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    if precision == "int8" and backend == "torch":
        raise InputError("PyTorch engines cannot be had in int8; take --fp16, or another backend such as openvino")
    if precision == "bf16":
        refuse_bf16(backend, device=device)


def lowered(
    graph: onnx.ModelProto,
    precision: Precision,
    *,
    ranges: Ranges | None = None,
    layers: Collection[str] | None = None,
    backend: str = "",
) -> onnx.ModelProto:
    """Return a fp32 graph in another precision; the one given is left as it is.

    Args:
        graph: of `to_graph`, rewritten or not.
        precision: one of `PRECISIONS`.
        ranges: for int8.
        layers: for int8, the convolutions to quantize; all where None. The others stay fp32 in the graph, and run in
            whatever the backend runs fp16 graphs in.
        backend: for int8, a key of `runtime.BACKENDS`: the form that it takes. One that all of them take where empty.

    Raises:
        WeightsError: weights too large for fp16, or values whose range is not known.
        ArtefactError: the int8 graph breaks a rule that backends rely on.
    """
    if precision == "fp16":
        return to_fp16(graph)
    if precision == "bf16":
        return to_bf16(graph)
    if precision == "int8":
        if ranges is None:
            raise ValueError("int8 takes ranges")
        unsigned = backend in _UNSIGNED
        quantized = to_int8(graph, ranges, layers=layers, unsigned=unsigned, weight_bits=weight_bits(backend))
        check_quantized(quantized, unsigned=unsigned)
        return quantized
    return graph


def weight_bits(backend: str) -> int:
    """Return the bits that int8 weights have on a backend: 7 where products with uint8 would saturate here, else 8."""
    return 7 if backend in _UNSIGNED and byte_sums_saturate() else 8
