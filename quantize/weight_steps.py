"""Weights in int8: for each output channel the step with which rounding and clipping together do the least harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["rounded_weight", "to_steps", "weight_steps"]

_SHARES = np.linspace(1.0, 0.5, 51)
"""Of the largest weight of a channel, at which clipping is tried."""
_NOTHING = 1e-30
"""A channel of smaller weights is a channel of zeros."""


def weight_steps(weight: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return float32 [out]: for each output channel the step that loses least in the mean square.

    Args:
        weight: [out, …]; a channel of zeros gets 1.
    """
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    largest = np.abs(rows).max(axis=1)
    # A step of 0, or one too small for what it is multiplied with, is refused by backends or divides by zero.
    largest = np.where(largest < _NOTHING, 127, largest)
    steps = largest / 127
    least = np.full(len(rows), np.inf)
    for share in _SHARES:
        step = (largest * share / 127)[:, None]
        error = ((np.clip(np.rint(rows / step), -127, 127) * step - rows) ** 2).sum(axis=1)
        better = error < least
        least[better], steps[better] = error[better], step[better, 0]
    return steps.astype(np.float32)


def to_steps(weight: NDArray[np.floating[Any]], steps: NDArray[np.float32]) -> NDArray[np.int8]:
    """Return a weight [out, …] in whole steps of each output channel, -127..127."""
    along = steps.reshape(-1, *[1] * (weight.ndim - 1))
    return np.clip(np.rint(weight / along), -127, 127).astype(np.int8)


def rounded_weight(weight: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return a weight [out, …] as int8 holds it, in float32 again."""
    steps = weight_steps(weight)
    return to_steps(weight, steps) * steps.reshape(-1, *[1] * (weight.ndim - 1))
