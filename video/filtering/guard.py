"""A cheap look at every filtered frame: is it still the picture that went in?"""

from __future__ import annotations

import numpy as np

from postfilter.video.pixels import Plane

__all__ = ["looks_wrong"]

_STEP = 8
"""Every eighth sample of every eighth row is looked at: 5,400 of a 480p plane, well under 0.1 ms."""
_MEAN_SHIFT = 1 / 16
"""Of the peak. Removing coding artefacts moves a frame's mean by well under one code value in 255; this is sixteen."""
_FLAT = 0.25
"""A frame whose spread falls below this share of what it was has lost its content."""
_NOISE = 1 / 64
"""Of the peak. A frame with less spread than this was flat before."""


def looks_wrong(before: Plane, after: Plane, *, peak: int) -> bool:
    """Return whether a filtered frame is black, flat, washed out or shifted where the decoded one was not.

    This is what half precision that overflows, or a damaged graph, looks like. It judges the whole frame, from a
    sample of it; local damage can pass.

    Args:
        before: the decoded samples, [N, C, H, W].
        after: the filtered ones, the same shape.
        peak: the largest code value.
    """
    # From the middle of the steps: at the border of the picture a network sees its own padding.
    old, new = (each[..., _STEP // 2 :: _STEP, _STEP // 2 :: _STEP].astype(np.float32) for each in (before, after))
    if float(np.abs(old.mean(axis=(-2, -1)) - new.mean(axis=(-2, -1))).max()) > _MEAN_SHIFT * peak:
        return True
    spread = float(old.std())
    return spread > _NOISE * peak and float(new.std()) < _FLAT * spread
