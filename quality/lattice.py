"""Whether DCT coefficients lie on the lattice of a JPEG's quantization steps, and of which quality."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from postfilter.quality.jpeg_tables import luma_table

__all__ = ["jpeg_on_lattice"]

Floats = NDArray[np.float32]

_SPANNED = np.add.outer(np.arange(8), np.arange(8)) <= 6
"""The frequencies that are looked at: few others are ever coded."""
_NOISE = 0.6
"""Deviation of a coefficient from its lattice: samples are rounded, once to R'G'B' and once to luma."""
_STRAY = 0.2
"""Share of coefficients that lie anywhere, those of clipped samples for instance."""
_SURE = 0.15
"""Mean gain in likelihood of a coefficient, in nats, from which on a lattice is taken as seen."""
_MOST = 6000
_FEWEST = 60
"""Coefficients that are not zero: with fewer nothing is said. More than the most are not looked at."""
_FINEST = 2.5
"""Steps below which noise hides the lattice."""


def jpeg_on_lattice(blocks: Floats) -> int | None:
    """Return the JPEG quality on whose lattice coefficients lie; None where they lie on none.

    A coefficient at a distance r from the nearest multiple of its step q is q N(r) times as likely on the lattice as
    off it, where the density is smooth. That favours coarse lattices, all of whose divisors fit as well. Around zero no
    density is smooth, so coefficients there count against a lattice only.

    Args:
        blocks: orthonormal DCT of 8x8 blocks on the grid of the JPEG, float32 [N, 8, 8]. The picture may have been
            turned since.
    """
    found = _on_lattice(blocks)
    return _on_lattice(blocks.transpose(0, 2, 1)) if found is None else found


def _on_lattice(blocks: Floats) -> int | None:
    values = blocks[:, _SPANNED]
    values[:, 0] -= 1024  # JPEG codes samples less 128
    active = np.abs(values) > 3 * _NOISE
    if np.count_nonzero(active[:, 1:]) < _FEWEST:
        return None
    frequency = np.nonzero(active)[1]
    every = -(-len(frequency) // _MOST)
    values, frequency = values[active][::every], frequency[::every]
    best, found = _SURE, None
    for quality, table in _tables():
        steps = table[frequency]
        multiple = np.rint(values / steps)
        rest = (values - multiple * steps) / _NOISE
        gain = np.log(_STRAY + (1 - _STRAY) * steps / (_NOISE * 2.5066) * np.exp(-0.5 * rest * rest))
        mean = float(np.where(multiple == 0, np.minimum(gain, 0), gain).mean())
        if mean >= best:
            best, found = mean, quality
    return found


@cache
def _tables() -> list[tuple[int, Floats]]:
    spanned = {quality: luma_table(quality)[_SPANNED].astype(np.float32) for quality in range(1, 101)}
    return [(quality, steps) for quality, steps in spanned.items() if steps.mean() >= _FINEST]
