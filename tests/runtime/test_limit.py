from __future__ import annotations

from typing import Any

import pytest

from postfilter.runtime.limit import LayerLoad, Limit, find_limit, layer_bound

RATES = {"fp32": 0.5, "bf16": 1.0, "int8": 2.0}


def limit_of(layers: list[LayerLoad], **changed: Any) -> Limit:
    flop = 2e6 * sum(layer.mmac for layer in layers)
    given: dict[str, Any] = {
        "flop": flop,
        "fps": 100.0,
        "fastest_fps": 100.0,
        "traffic_bytes": 1e6,
        "rates": RATES,
        "bandwidth_gbs": 50.0,
        "precision_run": "fp32",
    }
    return find_limit(layers, **(given | changed))


def test_the_share_is_of_the_rate_at_the_precision_that_ran() -> None:
    # 5000 MMAC are 10 GFLOP: at 100 fps 1 TFLOP/s.
    limit = limit_of([LayerLoad(precision="int8", ms=10, mmac=5000)])
    assert limit.compute_tflops == pytest.approx(2.0)
    assert limit.share == pytest.approx(0.5)
    assert limit.bound_ms == pytest.approx(5.0)
    assert limit.precision == "int8"
    assert limit.compute_tflops_by_precision == RATES


def test_layers_of_several_precisions_count_by_their_work() -> None:
    """Half the arithmetic at 2 TFLOP/s and half at 1: at best as fast as all of it at 1.33."""
    limit = limit_of(
        [LayerLoad(precision="bf16", ms=5, mmac=2500), LayerLoad(precision="int8", ms=5, mmac=2500)], fps=50.0
    )
    assert limit.compute_tflops == pytest.approx(4 / 3)
    assert limit.share == pytest.approx(0.5 * 3 / 4)
    assert limit.precision == "bf16 and int8"


def test_a_precision_of_little_work_is_not_named() -> None:
    layers = [LayerLoad(precision="fp32", ms=1, mmac=10), LayerLoad(precision="int8", ms=9, mmac=4990)]
    assert limit_of(layers).precision == "int8"


def test_what_the_engine_reached_is_possible() -> None:
    """Another program may slow the machine down while its rate is measured."""
    limit = limit_of([LayerLoad(precision="int8", ms=10, mmac=5000)], fps=300.0, fastest_fps=400.0)
    assert limit.compute_tflops == pytest.approx(4.0)
    assert limit.share == pytest.approx(0.75)


def test_without_a_measured_rate_there_is_no_share() -> None:
    limit = limit_of([LayerLoad(precision="fp16", ms=10, mmac=5000)], rates={}, bandwidth_gbs=0.0)
    assert limit.share is None
    assert limit.bound_ms == pytest.approx(10.0)


def test_layers_that_do_not_tell_their_work_leave_the_engines_precision() -> None:
    limit = limit_of([LayerLoad(precision="bf16", ms=1, mmac=0)], flop=1e9, precision_run="bf16")
    assert (limit.precision, limit.compute_tflops) == ("bf16", pytest.approx(1.0))


@pytest.mark.parametrize(
    ("layer", "bound"),
    [
        # 20 MFLOP take 10 us at 2 TFLOP/s; 50 GB/s move 500,000 bytes meanwhile.
        (LayerLoad(precision="int8", ms=1, mmac=10, values=499_000), "compute"),
        (LayerLoad(precision="int8", ms=1, mmac=10, values=501_000), "bandwidth"),
        # 40 us at 0.5 TFLOP/s; 2,000,000 bytes are 500,000 values.
        (LayerLoad(precision="fp32", ms=1, mmac=10, values=499_000), "compute"),
        (LayerLoad(precision="fp32", ms=1, mmac=10, values=501_000), "bandwidth"),
        (LayerLoad(precision="int8", ms=1, mmac=10), "compute"),
        (LayerLoad(precision="uint8", ms=1, mmac=0), "bandwidth"),
    ],
)
def test_a_layer_is_bound_by_what_takes_longer(layer: LayerLoad, bound: str) -> None:
    assert layer_bound(layer, rates=RATES, bandwidth_gbs=50.0) == bound


def test_the_engine_is_bound_by_what_most_of_its_time_goes_to() -> None:
    heavy = LayerLoad(precision="int8", ms=4, mmac=5000, values=1000)
    assert limit_of([heavy, LayerLoad(precision="uint8", ms=3, mmac=0)]).bound == "compute"
    assert limit_of([heavy, LayerLoad(precision="uint8", ms=5, mmac=0)]).bound == "bandwidth"
