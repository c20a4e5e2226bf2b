"""The operators of a PyTorch program, from what torch's profiler tells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from postfilter.runtime.backend import Layer

__all__ = ["layers_of"]

_NO_WORK = {
    "aten::detach_",
    "aten::empty",
    "aten::lift_fresh",
    "aten::detach",
    "aten::resolve_conj",
    "aten::resolve_neg",
}
"""Operators that move and compute nothing."""


def layers_of(events: Iterable[Any], *, precision: str, on_gpu: bool) -> list[Layer]:
    """Return the operators that a program called, in order.

    Args:
        events: of torch's profiler, with shapes and FLOP.
        precision: of the network's weights: what multiplies computes in it.
        on_gpu: whether the GPU's time counts, not that of the calls.
    """
    found: list[Layer] = []
    for event in sorted(events, key=lambda each: each.time_range.start):
        parent = event.cpu_parent
        inner = parent is not None and parent.name.startswith("aten::")
        if inner or not event.name.startswith("aten::") or event.name in _NO_WORK:
            continue
        mmac = _mmac(event.name, event.input_shapes, event.flops)
        found.append(
            Layer(
                name=f"{event.name.removeprefix('aten::')}_{len(found)}",
                type=event.name.removeprefix("aten::"),
                precision=precision if mmac else "fp32",
                ms=(event.device_time_total if on_gpu else event.cpu_time_total) / 1000,
                mmac=mmac,
            )
        )
    return found


def _mmac(operator: str, shapes: list[list[int]], flops: int) -> float | None:
    """Million multiply-accumulates of one call. The profiler counts FLOP, but none for a transposed convolution."""
    if operator in ("aten::conv_transpose2d", "aten::convolution") and len(shapes) > 1 and len(shapes[0]) == 4:
        frames, _, height, width = shapes[0]
        return frames * height * width * float(np.prod(shapes[1])) / 1e6
    return flops / 2e6 if "conv" in operator or "mm" in operator else None
