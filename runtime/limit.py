"""How near an engine comes to what its machine can do, and what holds it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Bound", "LayerLoad", "Limit", "find_limit", "layer_bound"]

Bound = Literal["compute", "bandwidth"]

_BYTES = {"int8": 1, "uint8": 1, "fp16": 2, "bf16": 2}
"""A value in memory, by the precision of the layer that reads or writes it; 4 of any other."""

_WORTH_NAMING = 0.05
"""Share of the arithmetic from which a precision is named in words."""


@dataclass(frozen=True, kw_only=True)
class LayerLoad:
    """One executed layer: its time and its work."""

    precision: str
    ms: float
    mmac: float
    """Million multiply-accumulates."""
    values: int | None = None
    """Values that it reads and writes, weights included; None where unknown."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What the machine allows."""

    compute_tflops: float
    """Measured arithmetic rate of this backend for this engine's layers, each at the precision it ran in; a MAC is 2.
    At least what the engine reached: a machine that other work slows down may show less a moment later."""
    compute_tflops_by_precision: dict[str, float] = field(default_factory=dict)
    """The rates that were measured, by precision; empty where that is not possible here."""
    bandwidth_gbs: float
    """Measured rate of a large copy, bytes read plus bytes written; 0 where that is not possible here."""
    bound_ms: float
    """No frame can be faster, in milliseconds: the larger of its arithmetic at that rate and its unavoidable traffic
    (samples in and out, weights) at that bandwidth. What layers hand to each other is left out: caches may hold it."""
    precision: str
    """In which the arithmetic ran, for instance `int8`; `int8 and bf16` where a second one has a good part of it."""
    share: float | None
    """Achieved rate / `compute_tflops`; None where the machine's rate could not be measured."""
    bound: Bound
    """Where most of the time goes: to layers of which the machine's arithmetic is the limit, or to those that mostly
    move memory (`layer_bound`)."""


def find_limit(
    layers: Sequence[LayerLoad],
    *,
    flop: float,
    fps: float,
    fastest_fps: float,
    traffic_bytes: float,
    rates: Mapping[str, float],
    bandwidth_gbs: float,
    precision_run: str,
) -> Limit:
    """Hold an engine against its machine.

    Args:
        layers: as executed.
        flop: that a frame needs, 2 a multiply-accumulate.
        fps: frames a second that the engine filters.
        fastest_fps: the most that it was seen to, if only for one frame.
        traffic_bytes: that a frame cannot avoid.
        rates: the machine's TFLOP/s by precision, see `ceiling.compute_tflops`.
        bandwidth_gbs: see `ceiling.bandwidth_gbs`.
        precision_run: of most of the engine, where the layers do not tell.
    """
    macs: dict[str, float] = {}
    for layer in layers:
        if layer.mmac:
            macs[layer.precision] = macs.get(layer.precision, 0.0) + layer.mmac
    macs = dict(sorted(macs.items(), key=lambda item: -item[1])) or {precision_run: 1.0}
    total = sum(macs.values())
    achieved = flop * fps / 1e12
    # A precision that could not be measured by itself is taken for the fastest, which flatters no engine.
    ceiling = (
        total / sum(count / rates.get(name, max(rates.values())) for name, count in macs.items()) if rates else 0.0
    )
    compute = max(ceiling, flop * max(fps, fastest_fps) / 1e12)
    times = dict.fromkeys(("compute", "bandwidth"), 0.0)
    for layer in layers:
        times[layer_bound(layer, rates=rates, bandwidth_gbs=bandwidth_gbs)] += layer.ms
    return Limit(
        compute_tflops=compute,
        compute_tflops_by_precision=dict(rates),
        bandwidth_gbs=bandwidth_gbs,
        bound_ms=max(flop / (compute * 1e12), traffic_bytes / (bandwidth_gbs * 1e9) if bandwidth_gbs else 0.0) * 1e3,
        precision=" and ".join(name for name, count in macs.items() if count >= _WORTH_NAMING * total),
        share=achieved / compute if rates else None,
        bound="bandwidth" if times["bandwidth"] > times["compute"] else "compute",
    )


def layer_bound(layer: LayerLoad, *, rates: Mapping[str, float], bandwidth_gbs: float) -> Bound:
    """Return what limits a layer by the roofline model (Williams, Waterman and Patterson 2009).

    `bandwidth` where its arithmetic would take less time at the machine's rate than moving what it reads and writes
    through memory; so all layers that multiply nothing. A cache can make such a layer faster than that bound.
    """
    if not layer.mmac:
        return "bandwidth"
    rate = rates.get(layer.precision) or max(rates.values(), default=0.0)
    if not rate or not bandwidth_gbs or layer.values is None:
        return "compute"
    seconds = 2 * layer.mmac * 1e6 / (rate * 1e12)
    moved = layer.values * _BYTES.get(layer.precision, 4) / (bandwidth_gbs * 1e9)
    return "compute" if seconds >= moved else "bandwidth"
