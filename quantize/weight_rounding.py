"""Weights in int8: the step of each output channel, and which way each weight is rounded."""

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
_MOST_CHANGES = 400


def weight_steps(weight: NDArray[np.floating[Any]], *, most: int = 127) -> NDArray[np.float32]:
    """Return float32 [out]: for each output channel the step that loses least in the mean square.

    Args:
        weight: [out, …]; a channel of zeros gets 1.
        most: steps up and down: 127 for 8 bits, 63 for 7.
    """
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    largest = np.abs(rows).max(axis=1)
    # A step of 0, or one too small for what it is multiplied with, is refused by backends or divides by zero.
    largest = np.where(largest < _NOTHING, most, largest)
    steps = largest / most
    least = np.full(len(rows), np.inf)
    for share in _SHARES:
        step = (largest * share / most)[:, None]
        error = ((np.clip(np.rint(rows / step), -most, most) * step - rows) ** 2).sum(axis=1)
        better = error < least
        least[better], steps[better] = error[better], step[better, 0]
    return steps.astype(np.float32)


def to_steps(
    weight: NDArray[np.floating[Any]],
    steps: NDArray[np.float32],
    *,
    covariance: NDArray[np.float64] | None = None,
    most: int = 127,
) -> NDArray[np.int8]:
    """Return a weight [out, …] in whole steps of each output channel, -127..127.

    Rounding each weight to its nearest step is best for inputs that have nothing to do with each other. Samples of a
    picture have: where the errors of a kernel's weights add up, a bright area is shifted as a whole. Given how the
    inputs go together, single weights are therefore moved by a step, the most useful first, until the error of
    the layer's output grows no smaller (coordinate descent; the aim is that of AdaRound, Nagel et al. 2020, without
    data). For Fast ARCNN's first layer this divides the output's error by four.

    Args:
        weight: [out, …].
        steps: float32 [out].
        covariance: [taps, taps] of the inputs, in the order of a flattened weight; rounds to nearest where None.
        most: as `weight_steps` has it.
    """
    rows, step = weight.reshape(len(weight), -1).astype(np.float64), steps.astype(np.float64)[:, None]
    whole = np.clip(np.rint(rows / step), -most, most)
    if covariance is not None:
        off = whole * step - rows
        slope, curve = off @ covariance, step**2 * np.diag(covariance)
        channels = np.arange(len(rows))
        for _ in range(_MOST_CHANGES):
            # What the squared error changes by where a weight goes one step up or down.
            change = np.stack([sign * 2 * step * slope + curve for sign in (1, -1)])
            change[0][whole >= most], change[1][whole <= -most] = np.inf, np.inf
            best = change.transpose(1, 0, 2).reshape(len(rows), -1).argmin(axis=1)
            down, tap = np.divmod(best, rows.shape[1])
            moves = np.where(change[down, channels, tap] < 0, np.where(down, -1, 1), 0)
            if not moves.any():
                break
            whole[channels, tap] += moves
            slope += (moves * step[:, 0])[:, None] * covariance[tap]
    return whole.reshape(weight.shape).astype(np.int8)


def rounded_weight(
    weight: NDArray[np.floating[Any]], *, covariance: NDArray[np.float64] | None = None, most: int = 127
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a convolution's weight [out, in, H, W] in int8 steps, and the step of each output channel.

    Args:
        weight: of the convolution.
        covariance: see `to_steps`; for a convolution that is not grouped.
        most: as `weight_steps` has it.
    """
    steps = weight_steps(weight, most=most)
    return to_steps(weight, steps, covariance=covariance, most=most), steps
