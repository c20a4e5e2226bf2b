"""Training of the strength estimator: what it learns from, and that it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.quality.strength import judged
from postfilter.training.coding import Coding, code
from postfilter.training.strength import Example, equivalent_qp, errors_of, fit


def test_the_network_learns_and_tells_how_sure_it_is() -> None:
    rng = np.random.default_rng(1)
    sure = rng.random(600) < 0.5
    qp = rng.uniform(15, 45, 600)
    seen = np.where(sure, qp, 30 + rng.normal(0, 8, 600))
    traces = np.stack([seen / 10, sure, rng.random(600)], axis=1).astype(np.float32)
    examples = [
        Example(each, float(value), "sure" if known else "not", Path("a"))
        for each, value, known in zip(traces, qp, sure, strict=True)
    ]
    weights = fit(examples, seed=1, steps=400)
    errors = errors_of(weights, examples)
    assert errors["sure"]["mean_absolute_error"] < 3 < 6 < errors["not"]["mean_absolute_error"]
    spreads = [judged(each.traces, weights)[1] for each in examples]
    assert np.mean(np.array(spreads)[sure]) < 0.6 * np.mean(np.array(spreads)[~sure])


def test_what_x264_loses_is_its_own_equivalent(photograph: NDArray[np.uint8]) -> None:
    clean = np.stack([photograph[t : t + 96, 2 * t : 2 * t + 128, 1] for t in range(4)])
    coded = code(clean, Coding(codec="h264", quality=32))
    assert equivalent_qp(clean, coded.frames) == pytest.approx(32, abs=2)
